import assert from 'node:assert/strict';
import { splitLine } from '../../helper/cli/commands/run.ts';
import { asCheckpoint, asCheckpoints, chooseSandbox, only, splitDiff, splitWords } from '../../helper/cli/target.ts';
import type { TeleportError } from '../../helper/protocol/errors.ts';
import { aSandbox } from '../client/models.ts';

const code = (expected: string) => (error: TeleportError) => error.code === expected;

describe('which sandbox is meant', () => {
  const api = aSandbox();
  const nested = aSandbox({ id: 's2', name: 'nested', workspace: '/work/api/sub' });
  const twin = aSandbox({ id: 's3', name: 'twin' });
  const misleading = aSandbox({ id: 's4', name: 's1', workspace: '/elsewhere' });

  it('by id, then by name', () => {
    assert.equal(chooseSandbox([api, nested], 's2', '/'), nested);
    assert.equal(chooseSandbox([api, nested], 'api', '/'), api);
    assert.equal(chooseSandbox([misleading, api], 's1', '/'), api);
  });

  it('by the folder, or one inside it', () => {
    assert.equal(chooseSandbox([api], undefined, '/work/api'), api);
    assert.equal(chooseSandbox([api], undefined, '/work/api/src/deep'), api);
    assert.equal(chooseSandbox([aSandbox({ workspace: '/' })], undefined, '/any').workspace, '/');
  });

  it('the innermost of several', () => {
    assert.equal(chooseSandbox([api, nested], undefined, '/work/api/sub/x'), nested);
    assert.equal(chooseSandbox([api, nested], undefined, '/work/api'), api);
  });

  it('no other folder whose name begins the same', () => {
    assert.throws(() => chooseSandbox([api], undefined, '/work/api-server'), code('unknownSandbox'));
  });

  it('refuses where two could be meant', () => {
    assert.throws(() => chooseSandbox([api, twin], undefined, '/work/api'), code('ambiguousSandbox'));
    assert.throws(() => chooseSandbox([api, aSandbox({ id: 's9' })], 'api', '/'), code('ambiguousSandbox'));
  });

  it('refuses what there is not', () => {
    assert.throws(() => chooseSandbox([api], '../api', '/'), code('unknownSandbox'));
    assert.throws(() => chooseSandbox([], undefined, '/'), code('unknownSandbox'));
  });
});

describe('which word is which', () => {
  it('the sandbox is there when there is one word more', () => {
    assert.deepEqual(splitWords(['k3'], ['CHECKPOINT']), { sandbox: undefined, rest: ['k3'] });
    assert.deepEqual(splitWords(['api', 'k3'], ['CHECKPOINT']), { sandbox: 'api', rest: ['k3'] });
    assert.deepEqual(splitWords(['k3', 'k3'], ['CHECKPOINT']), { sandbox: 'k3', rest: ['k3'] });
    assert.deepEqual(splitWords(['k3'], ['CHECKPOINT'], 'api'), { sandbox: 'api', rest: ['k3'] });
    for (const words of [[], ['a', 'b', 'c']])
      assert.throws(() => splitWords(words, ['CHECKPOINT']), code('invalidRequest'));
    assert.throws(() => splitWords(['a', 'k3'], ['CHECKPOINT'], 'api'), code('invalidRequest'));
  });

  it('of two words of diff the first is a place where it looks like one', () => {
    assert.deepEqual(splitDiff(['k3']), { sandbox: undefined, from: 'k3', to: undefined });
    assert.deepEqual(splitDiff(['k3', 'b4']), { sandbox: undefined, from: 'k3', to: 'b4' });
    assert.deepEqual(splitDiff(['api', 'k3']), { sandbox: 'api', from: 'k3', to: undefined });
    assert.deepEqual(splitDiff(['api', 'k3', 'k4']), { sandbox: 'api', from: 'k3', to: 'k4' });
    assert.deepEqual(splitDiff(['k3', 'k4'], 'k9'), { sandbox: 'k9', from: 'k3', to: 'k4' });
    assert.throws(() => splitDiff(['api', '../k3']), code('unknownCheckpoint'));
    assert.throws(() => splitDiff([]), code('invalidRequest'));
  });

  it('a shell line stands after --, or last', () => {
    assert.deepEqual(splitLine(['api'], ['ls -la | wc']), { sandbox: 'api', line: 'ls -la | wc' });
    assert.deepEqual(splitLine([], ['echo', 'a b']), { sandbox: undefined, line: "echo 'a b'" });
    assert.deepEqual(splitLine(['api', 'sed -i s/v1/v2/g *'], undefined), {
      sandbox: 'api',
      line: 'sed -i s/v1/v2/g *',
    });
    assert.deepEqual(splitLine(['make'], undefined), { sandbox: undefined, line: 'make' });
    assert.throws(() => splitLine([], undefined), code('invalidRequest'));
    assert.throws(() => splitLine([], []), code('invalidRequest'));
    assert.throws(() => splitLine(['a', 'b', 'c'], undefined), code('invalidRequest'));
  });

  it('ids are ids', () => {
    for (const word of ['3', 'k', 'k3x', '../k3', 'b3', 'k3\n'])
      assert.throws(() => asCheckpoint(word), code('unknownCheckpoint'));
    assert.deepEqual(asCheckpoints('k3,k5, k12'), ['k3', 'k5', 'k12']);
    assert.deepEqual([asCheckpoints('none'), asCheckpoints(undefined)], [[], undefined]);
    for (const words of ['', 'k3,', 'k3;k5', 'k3,b2', 'k3,none'])
      assert.throws(() => asCheckpoints(words), code('unknownCheckpoint'));
    assert.throws(() => only(['a', 'b']), code('invalidRequest'));
    assert.throws(() => only(['a'], 'b'), code('invalidRequest'));
    assert.equal(only([], 'b'), 'b');
  });
});
