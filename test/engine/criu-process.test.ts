/** An answer that CRIU gave before it ended is heard, however late the helper comes to look. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createConnection, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CriuProcess } from '../../helper/engine/criu-process.ts';

const sleepNow = (ms: number): void => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);

function waitUntilOver(pid: number): void {
  while (!/^State:\tZ/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))) sleepNow(5);
}

describe('a process of CRIU', () => {
  it('that ends while the helper is busy has answered', async () => {
    const server = createServer((socket) => socket.write('x')).listen(join(tmpdir(), `criu-process-${process.pid}`));
    await once(server, 'listening');
    const other = createConnection(server.address() as string);
    await once(other, 'connect');
    const answerer = new CriuProcess({ binary: '-c', prefix: ['/bin/sh', '-c', 'sleep 0.3; echo answer >&3'] });
    const heard: string[] = [];
    answerer.socket.on('data', (data) => heard.push(String(data)));
    const closed = once(answerer.socket, 'close');
    // Its end is told with that of another child: that one, and something to read, are found in one look.
    other.once('data', () => waitUntilOver(answerer.pid!));
    const first = spawn('true');
    waitUntilOver(first.pid!);
    await answerer.ended.then(() => sleepNow(50));
    await closed;
    assert.deepEqual(heard, ['answer\n']);
    other.destroy();
    server.close();
  });
});
