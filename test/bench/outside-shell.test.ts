import assert from 'node:assert/strict';
import { type OutsideShell, outsideShell } from '../../helper/bench/outside-shell.ts';

describe('the shell outside that exec is compared with', () => {
  let shell: OutsideShell;
  beforeEach(() => {
    shell = outsideShell();
  });
  afterEach(() => shell.end());

  it('tells how long a command took, in milliseconds, and is the same shell for the next', async () => {
    await shell.ms('MARK=1');
    assert.ok((await shell.ms('sleep 0.2')) >= 200);
    assert.ok((await shell.ms('[ "$MARK" = 1 ] && echo 7')) > 0);
  });

  it('has no figure for a command that failed, nor for one that ends it', async () => {
    await assert.rejects(shell.ms('(exit 3)'), /"\(exit 3\)" ended with 3 /);
    assert.ok((await shell.ms('true')) >= 0);
    await assert.rejects(shell.ms('exit 4'), /"exit 4" ended with the shell/);
  });
});
