import assert from 'node:assert/strict';
import { BRIDGE_METHODS } from '../../../helper/protocol/bridge.ts';
import { METHODS } from '../../../helper/protocol/methods.ts';
import type { Asked } from '../../../src/connection/helper.ts';
import { needsTrust } from '../../../src/connection/trust.ts';

const all = [...Object.keys(METHODS), ...Object.keys(BRIDGE_METHODS)] as Asked[];
/** By their verbs, those that start, change or lose something; the rest looks or ends. */
const ACTING =
  /(create|start|set|remove|delete|label|rollback|undo|fork|promote|open|write|signal|perform|mkdir|rename|symlink|sync|enter|fetch|branch|run|gc)$/i;

describe('a folder that is not trusted', () => {
  it('starts, changes and loses nothing', () => {
    const acting = all.filter((method) => ACTING.test(method));
    assert.ok(acting.length > 15);
    for (const method of acting) assert.ok(needsTrust(method), method);
    // What the protocol gets anew needs trust until somebody decides otherwise.
    assert.ok(needsTrust('something/new' as Asked));
  });

  it('can be looked at, and what runs there be stopped', () => {
    for (const method of [
      'sandbox/list',
      'checkpoint/list',
      'diff',
      'file/read',
      'sandbox/stop',
      'branch/discard',
    ] as const)
      assert.ok(!needsTrust(method), method);
  });
});
