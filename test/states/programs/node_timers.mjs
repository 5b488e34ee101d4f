import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { state, until } from './state.mjs';

// Timers, a child process, the thread pool.
state(async () => {
  let ticks = 0;
  setInterval(() => ticks++, 20);
  const child = spawn('cat', { stdio: ['pipe', 'pipe', 'inherit'] });
  let heard = '';
  child.stdout.on('data', (data) => {
    heard += data;
  });
  await readFile('/etc/passwd'); // the pool's threads are there
  await until(() => ticks > 2, 'ticks');
  return async () => {
    const seen = ticks;
    await until(() => ticks > seen + 2, 'the interval goes on');
    child.stdin.write('echoed');
    await until(() => heard === 'echoed', 'the child answers');
    assert.equal((await promisify(gzip)(Buffer.alloc(1000)))[0], 0x1f);
    assert.equal((await promisify(execFile)('echo', ['new'])).stdout, 'new\n');
    child.kill();
  };
});
