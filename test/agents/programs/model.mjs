/**
 * A server of the OpenAI protocol whose model follows a script: streams words, and tool calls in pieces. It keeps nothing: which step
 * comes next, the conversation says. Arguments: the port, the workspace.
 */
import { createServer } from 'node:http';

const [port, workspace] = process.argv.slice(2);
/** The second one can be told from itself: a clock is not taken back, as random numbers are. */
const STEPS = [
  () => ['run_shell_command', { command: 'echo one > one.txt', description: 'The first file', is_background: false }],
  () => ['write_file', { file_path: `${workspace}/two.txt`, content: `${new Date().toISOString()}\n` }],
  () => [
    'run_shell_command',
    { command: 'rm -rf victim; ls -d victim', description: 'Make room', is_background: false },
  ],
];

createServer((request, response) => {
  let body = '';
  request.on('data', (part) => (body += part));
  request.on('end', () => {
    if (request.method !== 'POST' || !request.url.endsWith('/chat/completions')) return response.writeHead(404).end();
    const { messages, stream } = JSON.parse(body);
    const done = messages.filter(({ role }) => role === 'tool').length;
    answer(response, stream === true, done);
  });
}).listen(Number(port), '127.0.0.1', () => console.log('ready'));

function answer(response, stream, done) {
  if (!stream) return response.writeHead(400).end('{"error":{"message":"only streams"}}');
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  const send = (delta, finish_reason = null) => {
    const choices = [{ index: 0, delta, finish_reason }];
    const chunk = { id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1, model: 'scripted', choices };
    response.write(`data: ${JSON.stringify(chunk)}\n\n`);
  };
  const step = STEPS[done]?.();
  if (step) {
    const [name, args] = step;
    send({ role: 'assistant', content: `Step ${done + 1}. ` });
    send({ tool_calls: [{ index: 0, id: `call_${done}`, type: 'function', function: { name, arguments: '' } }] });
    for (const piece of JSON.stringify(args).match(/.{1,9}/gs))
      send({ tool_calls: [{ index: 0, function: { arguments: piece } }] });
    send({}, 'tool_calls');
  } else {
    for (const word of ['All ', 'three ', 'are ', 'done.']) send({ role: 'assistant', content: word });
    send({}, 'stop');
  }
  const usage = { prompt_tokens: 10, completion_tokens: 5, total_tokens: 15 };
  response.write(
    `data: ${JSON.stringify({ id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1, model: 'scripted', choices: [], usage })}\n\n`,
  );
  response.end('data: [DONE]\n\n');
}
