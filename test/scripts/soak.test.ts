import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { holdLock } from '../../scripts/soak/lock.ts';
import { codeName, lanesOf, type Plan, partName, type Run } from '../../scripts/soak/plan.ts';
import { type Part, report, wrongWith } from '../../scripts/soak/report.ts';

const plan: Plan = { faults: 150, rollbacks: 200, depth: 300, seed: 7 };
const around = { finished: '2026-01-01T00:00', cores: 2, kernel: '6', node: '20' };
const ways = { warm: 110, cold: 90, saving: 60, undo: 40, deep: 20 };
const notesOf = ({ file, faults, seed }: Run): object[] =>
  ({
    'faults/helper-killed': [{ what: 'helper killed', faults, hits: faults - 1, seed }],
    'faults/rollbacks': [
      { what: 'rollbacks', rollbacks: 200, ...ways, seconds: 6 },
      { what: 'forks', forks: 200, seconds: 3 },
    ],
    'faults/sandboxes': [{ what: 'further sandboxes', sandboxes: 20 }],
    depth: [{ what: 'a deep line', depth: 300 }],
  })[file] ?? [];
const partOf = (run: Run, more: Partial<Part> = {}): Part => ({
  run,
  code: 'abc1234',
  failed: false,
  seconds: 9.4,
  said: '3 passing (9s)',
  notes: toLines(notesOf(run)),
  ...more,
});
const toLines = (notes: object[]): string => notes.map((note) => `${JSON.stringify(note)}\n`).join('');
const runs = lanesOf(plan).flat();
const whole = (): Part[] => runs.map((run) => partOf(run));
/** The whole soak, but one part. */
const but = (file: string, more: Partial<Part>): Part[] =>
  runs.map((run) => partOf(run, run.file === file ? more : {}));
const rollbacks = (...notes: object[]): Part[] => but('faults/rollbacks', { notes: toLines(notes) });

describe('the report of a soak', () => {
  it('tells what was planned and what was done, and of which code each figure is', () => {
    const text = report(whole(), plan, around);
    assert.match(text, /\| random kills of the helper \| 1000 \| 150 \| 150 \|/);
    assert.match(text, /\| rollbacks \| 10000 \| 200 \| 200 \|/);
    assert.match(text, /\| forks \| 10000 \| 200 \| 200 \|/);
    assert.match(text, /\| checkpoints in one line \| 3000 \| 300 \| 300 \|/);
    assert.match(text, /Of these kills 148 were at the very point/);
    assert.match(text, /Of the rollbacks\n110 were warm \(a standby was taken\), 90 were cold, 60 were such as save/);
    assert.match(text, /^\| faults\/helper-killed, 50 faults, seed 107 \| 3 passing \| 9 s \| abc1234 \|$/m);
    assert.match(text, /^\| forks \| forks 200, seconds 3 \| abc1234 \|$/m);
  });

  it('tells of a part that failed, and that less was done', () => {
    const text = report(but('depth', { failed: true, said: 'AssertionError: step 7', notes: '' }), plan, around);
    assert.match(text, /^\| depth \| FAILED \| 9 s \| abc1234 \|$/m);
    assert.match(text, /\| checkpoints in one line \| 3000 \| 300 \| 0 \|/);
    assert.match(text, /## depth failed\n\n```\nAssertionError: step 7/);
  });

  const refused = (parts: Part[], why: RegExp): void => assert.throws(() => report(parts, plan, around), why);

  it('is not made of different code', () => {
    refused(
      but('depth', { code: 'abc1234-dirty-0123456789ab' }),
      /different code: abc1234, abc1234-dirty-0123456789ab/,
    );
  });

  it('is not made where the seconds that are told are more than it took', () => {
    const [one, two] = notesOf({ ...runs[0]!, file: 'faults/rollbacks' }) as [object, object];
    refused(rollbacks({ ...one, seconds: 7 }, two), /rollbacks: its notes tell of 10 s, and it took 9\.4 s/);
    refused(but('faults/rollbacks', { seconds: 8.9 }), /tell of 9 s, and it took 8\.9 s/);
  });

  it('is not made where a part told the same twice, as of two attempts', () => {
    const [one, two] = notesOf({ ...runs[0]!, file: 'faults/rollbacks' }) as [object, object];
    refused(rollbacks({ ...one, seconds: 1 }, { ...one, seconds: 1 }, two), /"rollbacks" was noted twice/);
    refused([...whole(), partOf(runs[0]!)], /helper-killed, 100 faults, seed 7: is there twice/);
  });

  it('is not made where a part that passed did less than was planned, or did not say', () => {
    const [one] = notesOf({ ...runs[0]!, file: 'faults/rollbacks' }) as [object];
    refused(rollbacks(one), /"forks" was to tell of forks 200, not undefined/);
    refused(rollbacks(one, { what: 'forks', forks: 20 }), /"forks" was to tell of forks 200, not 20/);
    const other = { notes: toLines([{ what: 'helper killed', faults: 100, seed: 8 }]) };
    assert.match(wrongWith(partOf(runs[0]!, other), plan).join(), /to tell of seed 7, not 8/);
    const [all, forks] = notesOf({ ...runs[0]!, file: 'faults/rollbacks' }) as [object, object];
    refused(rollbacks({ ...all, cold: 39, warm: 161 }, forks), /cold: 39 of 200, not 20 %/);
    refused(rollbacks({ ...all, undo: undefined }, forks), /undo: undefined of 200, not 15 %/);
    refused(whole().slice(1), /helper-killed, 100 faults, seed 7: is missing/);
  });
});

describe('what a soak keeps', () => {
  it('is of one code, to the last change, and of one plan', () => {
    const codes = ['abc1234', 'abc1235'].flatMap((commit) =>
      ['', 'one change', 'another'].map((changes) => codeName(commit, changes)),
    );
    assert.equal(codes[0], 'abc1234');
    assert.match(codes[1]!, /^abc1234-dirty-[0-9a-f]{12}$/);
    assert.equal(codeName('abc1234', 'one change'), codes[1]);
    const plans = [plan, { ...plan, rollbacks: 1 }, { ...plan, depth: 1 }];
    const names = codes.flatMap((code) => plans.flatMap((one) => runs.map((run) => partName(run, one, code))));
    assert.equal(new Set(names).size, codes.length * plans.length * runs.length);
    for (const name of names) assert.doesNotMatch(name, /\//);
  });

  it('is all that was planned, each part once', () => {
    const killed = runs.filter(({ file }) => file === 'faults/helper-killed');
    assert.deepEqual(
      killed.map(({ faults, seed, grep }) => [faults, seed, grep]),
      [
        [100, 7, undefined],
        [50, 107, 'random points'],
      ],
    );
  });

  it('is kept by one at a time; one that died holds nothing', () => {
    const dir = mkdtempSync(join(tmpdir(), 'teleport-soak-'));
    const file = join(dir, 'lock');
    try {
      writeFileSync(file, '4194999 of long ago\n');
      const held = holdLock(file);
      assert.equal(readFileSync(file, 'utf8'), `${process.pid}\n`);
      assert.throws(() => holdLock(file), new RegExp(`a soak runs here already: process ${process.pid};`));
      closeSync(held);
      closeSync(holdLock(file));
    } finally {
      rmSync(dir, { recursive: true });
    }
  });
});
