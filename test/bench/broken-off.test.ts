/** A benchmark that is broken off leaves nothing of the many things that it makes. Needs root. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { findCgroup2, groupName } from '../../helper/engine/cgroup.ts';
import { build, PROGRAM } from '../cli/program.ts';
import { loopsOf } from '../daemon/census.ts';
import { needsMachine } from '../daemon/helper-process.ts';

describe('a benchmark that is broken off', function () {
  this.timeout(90_000);
  let dir: string;
  before(function () {
    needsMachine(this);
    build();
  });
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'bench-broken-'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  const processes = () =>
    readdirSync('/proc').filter((name) => {
      try {
        return /^\d+$/.test(name) && readFileSync(`/proc/${name}/cmdline`, 'utf8').includes(dir);
      } catch {
        return false; // it ended meanwhile
      }
    });

  async function breakOff(signal: NodeJS.Signals, when: string): Promise<void> {
    const args = ['bench', 'counter', '--rounds', '1000'];
    const child = spawn(PROGRAM, args, { env: { ...process.env, TMPDIR: dir }, stdio: ['ignore', 'pipe', 'pipe'] });
    const said: string[] = [];
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (part) => said.push(String(part)));
    const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
    let there = false;
    let state: string | undefined;
    for (let tries = 0; !there; tries++, await sleep(20)) {
      assert.ok(tries < 1500 && child.exitCode === null, `${when}: ${said.join('')}`);
      state = readdirSync(dir)
        .filter((name) => /^teleport-bench-(?!ws-)/.test(name))
        .map((name) => join(dir, name, 'state'))[0];
      there = state !== undefined && existsSync(join(state, when));
    }
    const group = join(findCgroup2()!, groupName(state!, ''));
    child.kill(signal);
    assert.equal(await ended, 1, said.join(''));
    assert.match(said.join(''), /broken off: nothing of it is left/);
    assert.deepEqual(processes(), []);
    assert.ok(!readFileSync('/proc/self/mountinfo', 'utf8').includes(dir), 'a mount is left');
    assert.deepEqual(loopsOf(dir), []);
    assert.ok(!existsSync(group), 'control groups are left');
    assert.deepEqual(readdirSync(dir), []);
  }

  it('while it measures, beside its peers', () =>
    breakOff('SIGTERM', 'volume/sandboxes/s1/checkpoints/k6/manifest.json'));

  it('while its helper begins', () => breakOff('SIGINT', 'lock'));
});
