/** The watch over an agent's files where its hooks tell as well: what one of them kept is not kept again. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Branch } from '../../helper/daemon/branch.ts';
import type { House } from '../../helper/daemon/inside/house.ts';
import { QuietWatch } from '../../helper/daemon/inside/quiet-watch.ts';

const WORKSPACE = '/w';

describe('the watch over files that rest', () => {
  let upper: string;
  let watch: QuietWatch;
  let asked: { last: string; label: string | null | undefined }[];
  /** Times of files are those of the last tick of the clock, some milliseconds ago. */
  const write = async (name: string): Promise<void> => {
    await sleep(20);
    writeFileSync(join(upper, WORKSPACE, name), '');
  };
  /** What the house does when it is asked. */
  let answer: () => string | null;
  let branch: { id: string; over: boolean; record: { checkpoint: string } };
  const createdAt = new Map<string, string>();

  function checkpoint(id: string): void {
    createdAt.set(id, new Date().toISOString());
    branch.record.checkpoint = id;
  }

  beforeEach(() => {
    upper = mkdtempSync(join(tmpdir(), 'teleport-quiet-'));
    mkdirSync(join(upper, WORKSPACE));
    asked = [];
    let busy = 0;
    branch = Object.assign(
      { id: 'b1', over: false, record: { checkpoint: '' } },
      { layout: { upper }, processorTime: () => `${busy++}` },
    );
    checkpoint('k0');
    const house = {
      record: { workspace: WORKSPACE },
      catalogue: { checkpoint: (id: string) => ({ id, createdAt: createdAt.get(id)! }) },
      createCheckpointAfter: async (last: string, { label }: { label?: string | null }) => {
        asked.push({ last, label });
        const id = answer();
        return id && { checkpoint: { id } };
      },
    };
    watch = new QuietWatch(branch as unknown as Branch, house as unknown as House, 'An agent');
  });
  afterEach(() => {
    watch.stop();
    rmSync(upper, { recursive: true, force: true });
  });

  const asks = async (n: number): Promise<void> => {
    for (const end = Date.now() + 10_000; asked.length < n; await sleep(20))
      assert.ok(Date.now() < end, 'asked in time');
  };

  it('has what rested kept, once', async () => {
    answer = () => {
      checkpoint('k1');
      return 'k1';
    };
    await write('one');
    await asks(1);
    await sleep(1500);
    assert.deepEqual(asked, [{ last: 'k0', label: 'An agent: one' }]);
  });

  it('leaves to a hook what it keeps while the watch waits for its turn, and sees what comes after', async () => {
    answer = () => {
      checkpoint('k1'); // the hook's
      return null;
    };
    await write('one');
    await asks(1);
    await sleep(1500);
    assert.equal(asked.length, 1);
    answer = () => {
      checkpoint('k2');
      return 'k2';
    };
    await write('two');
    await asks(2);
    assert.deepEqual(asked[1], { last: 'k1', label: 'An agent: two' });
  });
});
