/**
 * Setting a new sandbox up: a command that runs in it once, before anybody works in there, and ends in a checkpoint of its own. It is
 * given by the caller, or stands in the workspace's devcontainer.json; the latter is somebody else's text, so callers ask first.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Result } from '../protocol/methods.ts';
import type { Requester, RequestOptions } from './connection.ts';

/** What the checkpoint after it is called. */
export const AFTER_SET_UP = 'after set-up';

/** @returns what the line did; `checkpoint` bears the label where it succeeded */
export async function setUp(
  helper: Requester,
  params: { sandbox: string; line: string; stream?: string },
  options?: RequestOptions,
): Promise<Result<'run'>> {
  const ran = await helper.request('run', params, options);
  if (ran.exitCode !== 0 || !ran.checkpoint) return ran;
  const { sandbox } = params;
  const labelled = { sandbox, checkpoint: ran.checkpoint.id, label: AFTER_SET_UP };
  return { ...ran, checkpoint: (await helper.request('checkpoint/label', labelled)).checkpoint };
}

/** `postCreateCommand` of the workspace's devcontainer.json as a shell line, or undefined. */
export async function postCreateCommand(workspace: string): Promise<string | undefined> {
  for (const name of ['.devcontainer/devcontainer.json', '.devcontainer.json']) {
    const text = await readFile(join(workspace, name), 'utf8').catch(() => undefined);
    if (text !== undefined) return commandIn(text);
  }
  return undefined;
}

/**
 * A string is a shell line, a list one command's words, an object several commands that run side by side.
 * Source: the Dev Container specification, "Formatting string vs. array properties".
 */
export function commandIn(text: string): string | undefined {
  let parsed: { postCreateCommand?: unknown };
  try {
    parsed = JSON.parse(plainJson(text));
  } catch {
    return undefined; // its own tools will say what is wrong with it
  }
  const command = parsed?.postCreateCommand;
  if (command && typeof command === 'object' && !Array.isArray(command)) {
    const lines = Object.values(command).map(asLine);
    if (!lines.length || lines.includes(undefined)) return undefined;
    const begun = lines.map((line) => `( ${line}\n) & pids+=($!)`).join('\n');
    return `pids=()\n${begun}\ncode=0; for pid in "\${pids[@]}"; do wait "$pid" || code=$?; done; ( exit $code )`;
  }
  return asLine(command);
}

function asLine(command: unknown): string | undefined {
  if (typeof command === 'string') return command.trim() || undefined;
  if (!Array.isArray(command) || !command.length || !command.every((word) => typeof word === 'string'))
    return undefined;
  return command.map((word: string) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ');
}

/** JSON with comments and commas at the end of lists, without them. */
export function plainJson(text: string): string {
  const tokens = /"(?:[^"\\]|\\.)*"|\/\/[^\n]*|\/\*[\s\S]*?\*\//g;
  const bare = text.replace(tokens, (token) => (token.startsWith('"') ? token : ' '));
  return bare.replace(/"(?:[^"\\]|\\.)*"|,(?=\s*[}\]])/g, (token) => (token === ',' ? '' : token));
}
