/**
 * Every kind of state that a process can be in, each by a program of its own, through everything that can happen to a branch.
 * All programs run side by side in one sandbox, so one checkpoint carries them all.
 */
import assert from 'node:assert/strict';
import { needsMachine } from '../daemon/helper-process.ts';
import { ALL, namesIn, type Selection, UNPRIVILEGED } from './catalogue.ts';
import { Rig } from './rig.ts';
import { Terminals } from './terminals.ts';

type Told = Map<string, string>;
interface Way {
  title: string;
  /** Brings the sandbox there; answers the branch to check, or nothing for the head. */
  go(rig: Rig): Promise<string | undefined>;
  /** Programs that end before that. */
  without?: string[];
}

/** Enough for the layer to be made by moving the upperdir. */
const MANY_FILES = 'mkdir -p many; for i in $(seq 700); do : > many/$i; done';
/** Deleted files that CRIU gives a name during the dump: then the upperdir is copied, however large. */
const NAMED_AGAIN = ['deleted_lower_file', 'hard_link_kept', 'lower_hard_links', 'posix_semaphore'];

function suite(title: string, uid: number, selection: Selection, ways: (first: () => string) => Way[]): void {
  describe(title, function () {
    this.timeout(180_000);
    const names = namesIn(selection);
    let rig: Rig;
    let terminals: Terminals;
    let first = '';
    const failed: Told = new Map();

    before(async function () {
      needsMachine(this);
      rig = await Rig.make(uid);
      for (const [name, why] of await rig.start(selection)) failed.set(name, why);
      terminals = new Terminals(rig);
      await terminals.start();
      const { id, culprits } = await rig.checkpointOfMost();
      first = id;
      for (const name of names) {
        const why = culprits.get(name.slice(0, 15)); // as long as a process's name can be
        if (why) failed.set(name, why);
      }
      await rig.verified(id);
    });
    after(() => rig?.end());

    for (const way of ways(() => first))
      describe(way.title, () => {
        const mine = names.filter((name) => !way.without?.includes(name));
        let told: Told = new Map();
        let shown: Told = new Map();
        before(async () => {
          const branch = await way.go(rig);
          const checked = mine.filter((name) => !failed.has(name));
          [shown, told] = await Promise.all([terminals.check(branch), rig.check(checked, branch)]);
          if (branch) await rig.connection.request('branch/discard', { sandbox: rig.sandbox, branch });
        });
        for (const name of mine)
          it(name, () => assert.equal(failed.get(name) ?? told.get(name) ?? 'no answer', 'pass'));
        for (const name of Terminals.NAMES) it(name, () => assert.equal(shown.get(name), 'pass'));
      });
  });
}

suite('states of processes', 0, ALL, (first) => {
  let second = '';
  let third = '';
  return [
    { title: 'go on after a checkpoint', go: async () => undefined },
    { title: 'after a warm rollback', go: async (rig) => void (await rig.rollback(first(), 'warm')) },
    {
      title: 'after a cold rollback, by a CRIU that was begun ahead',
      go: async (rig) => {
        await rig.warmRollback(first());
        second = await rig.checkpoint(); // of restored processes: the second generation
        await rig.verified(second);
        await rig.coldRollback(first(), 'ahead');
        return undefined;
      },
    },
    {
      title: 'after a cold rollback, by a CRIU that was begun on demand',
      go: async (rig) => void (await rig.coldRollback(first(), 'on demand')),
    },
    { title: 'in the second generation', go: async (rig) => void (await rig.coldRollback(second)) },
    {
      title: 'after the helper was killed',
      go: async (rig) => {
        await rig.standsBy(first());
        await rig.restart();
        await rig.rollback(first(), 'warm');
        return undefined;
      },
    },
    { title: 'in a fork', go: (rig) => rig.warmFork(first()) },
    { title: 'in a fork beside it', go: (rig) => rig.warmFork(first()) },
    {
      title: 'in a large upperdir that is copied all the same',
      go: async (rig) => {
        await rig.warmRollback(first());
        await rig.run(MANY_FILES);
        const { head } = await rig.get();
        third = await rig.checkpoint();
        assert.equal((await rig.get()).head, head, 'the head goes on');
        await rig.warmRollback(third);
        return undefined;
      },
    },
    {
      title: 'in the successor of one whose upperdir became the layer',
      without: NAMED_AGAIN,
      go: async (rig) => {
        await rig.coldRollback(second);
        for (const name of NAMED_AGAIN) await rig.run(`pkill -9 -x ${name.slice(0, 15)}`);
        await rig.run(MANY_FILES);
        const { head } = await rig.get();
        third = await rig.checkpoint();
        assert.notEqual((await rig.get()).head, head, 'a successor is the head');
        return undefined;
      },
    },
    {
      title: 'after a rollback to that layer',
      without: NAMED_AGAIN,
      go: async (rig) => void (await rig.warmRollback(third)),
    },
  ];
});

suite('states of processes of a plain user', 1500, UNPRIVILEGED, (first) => {
  let second = '';
  return [
    { title: 'go on after a checkpoint', go: async () => undefined },
    {
      title: 'after a warm rollback, in the second generation',
      go: async (rig) => {
        await rig.rollback(first(), 'warm');
        second = await rig.checkpoint();
        await rig.verified(second);
        await rig.rollback(second, 'warm');
        return undefined;
      },
    },
    {
      title: 'after a cold rollback, in the second generation',
      go: async (rig) => void (await rig.coldRollback(second)),
    },
  ];
});
