/**
 * Runs inside a sandbox: the `openai` package as it is, with nothing but the environment. Does what its argument says and
 * prints one line of JSON: what it got, or the error that it gives its user.
 *
 *   chat PROMPT | stream PROMPT | responses PROMPT | models
 */
import OpenAI from 'openai';

const [what = '', words = ''] = process.argv.slice(2);
const model = 'tester-1';

async function act(): Promise<object> {
  const retries = process.env.RETRIES;
  const client = new OpenAI(retries === undefined ? {} : { maxRetries: Number(retries) });
  const messages = [{ role: 'user' as const, content: words }];
  if (what === 'chat') {
    const answer = await client.chat.completions.create({ model, messages });
    return { text: answer.choices[0]?.message.content, usage: answer.usage };
  }
  if (what === 'stream') {
    const pieces: string[] = [];
    let empty = 0;
    for await (const chunk of await client.chat.completions.create({ model, messages, stream: true })) {
      if (!chunk.choices.length) empty++;
      const piece = chunk.choices[0]?.delta.content;
      if (!piece) continue;
      pieces.push(piece);
      process.stderr.write(`${piece}\n`);
    }
    return { text: pieces.join(''), pieces: pieces.length, empty };
  }
  if (what === 'responses') {
    const answer = await client.responses.create({ model, input: words });
    return { text: answer.output_text };
  }
  return { models: (await client.models.list()).data.map(({ id }) => id) };
}

act().then(
  (result) => console.log(JSON.stringify(result)),
  (error: Error & { status?: number; cause?: Error }) => {
    console.log(
      JSON.stringify({ error: error.name, status: error.status, message: error.message, cause: `${error.cause}` }),
    );
    process.exitCode = 1;
  },
);
