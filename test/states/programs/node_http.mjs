import assert from 'node:assert/strict';
import { Agent, createServer, get } from 'node:http';
import { state } from './state.mjs';

// A server and a client that keeps its connection.
state(async () => {
  let served = 0;
  const server = createServer((_, response) => response.end(String(++served)));
  server.keepAliveTimeout = 600_000;
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
  const { port } = server.address();
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const sockets = new Set();
  const ask = (through) =>
    new Promise((resolve, reject) => {
      const request = get({ port, host: '127.0.0.1', agent: through }, async (response) => {
        let text = '';
        for await (const part of response) text += part;
        resolve(text);
      });
      request.on('socket', (socket) => through && sockets.add(socket));
      request.on('error', reject);
    });
  assert.equal(await ask(agent), '1');
  return async () => {
    assert.equal(await ask(agent), '2');
    assert.equal(sockets.size, 1, 'the connection is the same one');
    assert.equal(await ask(), '3');
  };
});
