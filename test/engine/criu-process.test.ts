/** An answer that CRIU gave before it ended is heard, however late the helper comes to look. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { createConnection, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CriuProcess } from '../../helper/engine/criu-process.ts';

const sleepNow = (ms: number): void => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);

function waitUntilOver(pid: number): void {
  while (!/^State:\tZ/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))) sleepNow(5);
}

const descriptors = (): number => readdirSync('/proc/self/fd').length;

describe('a process of CRIU', () => {
  it('keeps the helper from ending, and leaves nothing of itself open, whether it was wanted or not', async () => {
    const before = descriptors();
    const refused = new CriuProcess({ binary: 'x', prefix: ['/bin/sh', '-c', 'exec 2>&- 3>&-; exit 7'] });
    assert.equal(await refused.ended, 'ended with exit code 7');
    const unwanted = new CriuProcess({ binary: 'x', prefix: ['/bin/sh', '-c', 'read word <&4'], waits: true });
    assert.ok(unwanted.waiting);
    unwanted.kill();
    assert.equal(await unwanted.ended, 'was ended by SIGKILL');
    const wanted = new CriuProcess({
      binary: 'x',
      prefix: ['/bin/bash', '-c', 'read -d "" w <&4; exit 3'],
      waits: true,
    });
    wanted.proceed(['word']);
    assert.equal(await wanted.ended, 'ended with exit code 3');
    for (let i = 0; i < 100 && descriptors() > before; i++) await sleep(10);
    assert.ok(descriptors() <= before, `${descriptors()}, ${before} before`);
  });

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
