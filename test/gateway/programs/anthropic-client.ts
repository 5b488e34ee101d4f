/**
 * Runs inside a sandbox: the `@anthropic-ai/sdk` package as it is, with nothing but the environment. Does what its argument says
 * and prints one line of JSON: what it got, or the error that it gives its user.
 *
 *   message PROMPT | stream PROMPT | count PROMPT | models
 */
import Anthropic from '@anthropic-ai/sdk';

const [what = '', words = ''] = process.argv.slice(2);
const model = 'tester-2';

async function act(): Promise<object> {
  const client = new Anthropic();
  const messages = [{ role: 'user' as const, content: words }];
  if (what === 'message') {
    const { content, usage, stop_reason } = await client.messages.create({ model, max_tokens: 100, messages });
    return {
      text: content.map((block) => (block.type === 'text' ? block.text : block.type)).join(''),
      usage,
      stop_reason,
    };
  }
  if (what === 'stream') {
    const pieces: string[] = [];
    const stream = client.messages.stream({ model, max_tokens: 100, messages }).on('text', (text) => {
      pieces.push(text);
      process.stderr.write(`${text}\n`);
    });
    const { usage, stop_reason } = await stream.finalMessage();
    return { pieces, usage, stop_reason };
  }
  if (what === 'count') return await client.messages.countTokens({ model, messages });
  return { models: (await client.models.list()).data.map(({ id }) => id) };
}

act().then(
  (result) => console.log(JSON.stringify(result)),
  (error: Error & { status?: number; cause?: Error }) => {
    console.log(JSON.stringify({ error: error.constructor.name, status: error.status, message: error.message }));
    process.exitCode = 1;
  },
);
