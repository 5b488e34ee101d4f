/** Reads whatever a run may be kept in, told apart by what it holds, not by its name. */
import { bashGrammar } from './grammar.ts';
import type { RunDocument } from './model.ts';
import { asDocument, isRunDocument, readScript } from './run-document.ts';
import { isClaudeCode, readClaudeCode } from './transcripts/claude-code.ts';
import { messagesIn, readOpenAi } from './transcripts/openai.ts';
import { jsonLines, parseJson } from './transcripts/reading.ts';
import { isSweAgent, readSweAgent } from './transcripts/swe-agent.ts';

/** A text that is no transcript is read as a shell script: there is no text that can't be read. */
export async function readDocument(text: string): Promise<RunDocument> {
  const parse = await bashGrammar();
  const plain = text.replace(/^\uFEFF/, '');
  if (!isRunDocument(plain) && /^\s*[{[]/.test(plain)) {
    const whole = parseJson(plain);
    if (isSweAgent(whole)) {
      const { steps, title } = readSweAgent(whole);
      return asDocument('swe-agent', steps, { title }, parse);
    }
    const lines = whole === undefined ? jsonLines(plain) : [whole];
    if (lines && isClaudeCode(lines)) {
      const { steps, title } = readClaudeCode(lines);
      return asDocument('claude-code', steps, { title }, parse);
    }
    const messages = messagesIn(whole ?? lines);
    if (messages) {
      const { steps, title } = readOpenAi(messages);
      return asDocument('openai', steps, { title }, parse);
    }
  }
  return readScript(plain, parse);
}
