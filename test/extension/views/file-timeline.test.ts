import assert from 'node:assert/strict';
import { HelperError } from '../../../src/connection/errors.ts';
import type { Ask } from '../../../src/connection/helper.ts';
import { insidePath, offer, touching } from '../../../src/views/file-timeline-model.ts';
import { checkpointOf } from '../scenarios.ts';

const createdAt = '2026-11-23T12:00:00.000Z';
const step = (n: number, filesChanged = 1) =>
  checkpointOf({ id: `k${n}`, parent: n > 0 ? `k${n - 1}` : null, createdAt, filesChanged });

/** Answers what was foreseen, by `from..to`, and throws on all else. */
function helper(answers: Record<string, number | Error>) {
  const asked: string[] = [];
  const ask = async (method: string, params: Record<string, string>) => {
    const { sandbox, from, to, path, ...rest } = params;
    const key = `${from}..${to}`;
    const answer = answers[key];
    asked.push(key);
    if (
      method !== 'diff' ||
      sandbox !== 's1' ||
      path !== '/w/a.txt' ||
      Object.keys(rest).length > 0 ||
      answer === undefined
    )
      throw new Error(`unexpected: ${method} ${JSON.stringify(params)}`);
    if (answer instanceof Error) throw answer;
    return { changes: Array.from({ length: answer }, () => ({ path, kind: 'changed', type: 'file' })) };
  };
  return { ask: ask as unknown as Ask, asked };
}

describe('the editor’s own timeline of a file', () => {
  const never = () => assert.fail('nothing to say');

  it('is left alone where the editor has none', () => {
    assert.equal(offer({}, ['file'], {}, never), undefined);
  });

  it('is offered ours where the editor has one', () => {
    const provider = {};
    const api = {
      registerTimelineProvider(schemes: string[], given: object) {
        assert.equal(this, api);
        assert.deepEqual(schemes, ['file', 'teleport-env']);
        assert.equal(given, provider);
        return 'registered';
      },
    };
    assert.equal(offer(api, ['file', 'teleport-env'], provider, never), 'registered');
  });

  it('is left alone, with a word in the log, where the editor has one but not for us', () => {
    const refusal = new Error('proposed API');
    const heard: unknown[] = [];
    const refusing = {
      registerTimelineProvider: () => {
        throw refusal;
      },
    };
    assert.equal(
      offer(refusing, ['file'], {}, (error) => heard.push(error)),
      undefined,
    );
    assert.deepEqual(heard, [refusal]);
  });

  it('has the steps that touched the file, asking only of those that changed any', async () => {
    const { ask, asked } = helper({ 'k3..k4': 1, 'k1..k2': 0, 'k0..k1': 1 });
    const found = await touching(ask, 's1', [step(4), step(3, 0), step(2), step(1), step(0, 5)], '/w/a.txt');
    assert.deepEqual(
      found.map(({ id }) => id),
      ['k4', 'k1'],
    );
    assert.deepEqual(asked, ['k3..k4', 'k1..k2', 'k0..k1']);
  });

  it('leaves out a step that was deleted meanwhile, and hides no other failure', async () => {
    const gone = new HelperError('unknownCheckpoint', 'there is no checkpoint k2');
    const steps = [step(2), step(1)];
    const left = await touching(helper({ 'k1..k2': gone, 'k0..k1': 1 }).ask, 's1', steps, '/w/a.txt');
    assert.deepEqual(
      left.map(({ id }) => id),
      ['k1'],
    );
    const lost = new HelperError('lost', 'the connection was lost');
    await assert.rejects(touching(helper({ 'k1..k2': lost, 'k0..k1': 1 }).ask, 's1', steps, '/w/a.txt'), lost);
  });

  it('asks about the newest steps alone, however many there are', async () => {
    const many = Array.from({ length: 100 }, (_, i) => step(100 - i));
    const answers = Object.fromEntries(many.slice(0, 60).map(({ id, parent }) => [`${parent}..${id}`, 0]));
    assert.deepEqual(await touching(helper(answers).ask, 's1', many, '/w/a.txt'), []);
  });

  it('knows the file by the name that it has in the sandbox, and no file from elsewhere', () => {
    assert.equal(insidePath('/home/me/shop', '/w', '/home/me/shop/src/a b.txt'), '/w/src/a b.txt');
    for (const file of ['/home/me/shop', '/home/me', '/home/me/shop2/a', '/etc/passwd'])
      assert.equal(insidePath('/home/me/shop', '/w', file), null, file);
    assert.equal(insidePath('/home/me/shop', '/w', '/home/me/shop/..a'), '/w/..a');
  });
});
