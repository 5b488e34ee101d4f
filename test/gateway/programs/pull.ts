/** Runs inside a sandbox: Anthropic's messages as its users send them, read as a stream at a slow reader's pace. No package: Node's own fetch. */
const { ANTHROPIC_BASE_URL: url = '', ANTHROPIC_API_KEY: key = '' } = process.env;

async function act(): Promise<object> {
  const body = JSON.stringify({
    model: 'tester-2',
    max_tokens: 9,
    stream: true,
    messages: [{ role: 'user', content: 'go' }],
  });
  const headers = {
    'x-api-key': key,
    'anthropic-version': '2023-06-01',
    'content-type': 'application/json',
    cookie: 'c=1',
  };
  const answer = await fetch(`${url}/v1/messages`, { method: 'POST', headers, body });
  let size = 0;
  for await (const chunk of answer.body ?? []) {
    size += chunk.length;
    if (process.env.SLOW) await new Promise((later) => setTimeout(later, 1));
  }
  return { status: answer.status, size };
}

act().then(
  (result) => console.log(JSON.stringify(result)),
  (error: Error) => console.log(JSON.stringify({ error: error.message, cause: String(error.cause) })),
);
