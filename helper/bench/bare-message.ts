/** What the machine charges for any message between two Node processes, whatever they are for. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';

/** Milliseconds that one byte takes to another process and back, `rounds` times, each after `restMs` in which nothing happened. */
export async function bareMessage(restMs: number, rounds: number): Promise<number[]> {
  const other = spawn(process.execPath, ['-e', "process.stdin.on('data', (byte) => process.stdout.write(byte))"], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const ended = once(other, 'exit');
  try {
    const ms: number[] = [];
    // The first are of a process that starts.
    for (let i = -5; i < rounds; i++) {
      if (restMs) await sleep(restMs);
      const begun = performance.now();
      const heard = once(other.stdout, 'data');
      other.stdin.write('x');
      await Promise.race([heard, ended.then(() => Promise.reject(new Error('the other process ended')))]);
      if (i >= 0) ms.push(performance.now() - begun);
    }
    return ms;
  } finally {
    other.kill();
    await ended;
  }
}
