/** Where callers say they will go next stands by; what they say wrongly does nothing. Needs root. */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import type { Connection } from '../../helper/client/connection.ts';
import type { TeleportError } from '../../helper/protocol/errors.ts';
import { waitFor } from '../vscode/waiting.ts';
import { HelperProcess, needsMachine, workspace } from './helper-process.ts';

describe('checkpoints that are expected', function () {
  this.timeout(60_000);
  let helper: HelperProcess;
  let connection: Connection;
  let ws: string;
  let sandbox: string;
  /** The last of a line of eight: what stands by unasked lies close to it. */
  const LAST = 'k8';

  before(async function () {
    needsMachine(this);
    helper = await HelperProcess.start();
    connection = await helper.connect();
    ws = workspace({ a: '0' });
  });
  beforeEach(async () => {
    sandbox = (await connection.request('sandbox/create', { workspace: ws })).sandbox.id;
    for (let i = 1; i <= 8; i++) await run(`echo ${i} > ${ws}/a`);
    await standing(LAST);
  });
  afterEach(async function () {
    if (this.currentTest?.state === 'failed') console.error(helper.logText());
    await connection.request('sandbox/remove', { sandbox });
  });
  after(async () => {
    await helper?.stop();
    if (ws) rmSync(ws, { recursive: true, force: true });
  });

  const run = (line: string, expect?: string[], checkpoint = true) =>
    connection.request('run', { sandbox, line, expect, checkpoint });
  const rollback = async (checkpoint: string, more: { discard?: boolean; expect?: string[] } = {}) =>
    (await connection.request('checkpoint/rollback', { sandbox, checkpoint, discard: true, ...more })).path;

  const standing = (checkpoint: string) => helper.standsBy(sandbox, checkpoint);
  const gone = (checkpoint: string) => waitFor(async () => !helper.standbys(sandbox).includes(checkpoint), 10_000);
  const refused = (code: string) => (error: TeleportError) => error.code === code && /k99/.test(error.message);

  it('stand by, though nothing else speaks for them', async () => {
    assert.equal(await rollback('k1'), 'cold', 'not said');
    await rollback(LAST);
    await run('true', ['k2'], false);
    await standing('k2');
    assert.equal(await rollback('k2'), 'warm');
  });

  it('are told from inside, too', async () => {
    const inside = async (words: string): Promise<string> =>
      Buffer.from((await run(`teleport-env ${words}; true`, undefined, false)).output, 'base64').toString();
    await inside('checkpoint --expect k1');
    await standing('k1');
    assert.match(await inside('checkpoint --expect k99'), /k99/);
    await assert.rejects(inside('rollback k8 --expect k2'), /was rolled back/);
    await standing('k2');
    await gone('k1');
    await inside('checkpoint --expect none');
    await gone('k2');
  });

  it('are told with each request that has the parameter, and hold until it comes again', async () => {
    await run('true', ['k1']);
    await standing('k1');
    await connection.request('checkpoint/create', { sandbox, expect: ['k2'] });
    await standing('k2');
    await gone('k1');
    const { branch } = await connection.request('branch/fork', { sandbox, checkpoint: LAST, expect: ['k3'] });
    await standing('k3');
    await gone('k2');
    await connection.request('branch/discard', { sandbox, branch });
    await run('true');
    await rollback(LAST);
    assert.ok(helper.standbys(sandbox).includes('k3'), 'nothing else was said');
    await rollback(LAST, { expect: ['k4'] });
    await standing('k4');
    await gone('k3');
    assert.equal(await rollback('k3'), 'cold');
    assert.equal(await rollback('k4'), 'warm');
  });

  it('none: what stood by for them goes', async () => {
    await run('true', ['k2'], false);
    await standing('k2');
    await run('true', [], false);
    await gone('k2');
    assert.equal(await rollback('k2'), 'cold');
  });

  it('take nothing from the rollback that tells of them, however long it keeps what was before', async () => {
    await run('true', ['k1'], false);
    await standing('k1');
    assert.equal(await rollback('k1', { discard: false, expect: ['k3', 'k4', 'k5'] }), 'warm');
    for (const next of ['k3', 'k4', 'k5']) await standing(next);
  });

  it('one that does not exist is refused, before anything was done or is expected instead', async () => {
    await run('true', ['k2'], false);
    await standing('k2');
    const state = async () => {
      const { checkpoints, head, current } = await connection.request('checkpoint/list', { sandbox });
      const { branches } = (await connection.request('sandbox/get', { sandbox })).sandbox;
      return { checkpoints: checkpoints.map(({ id }) => id), head, current, branches: branches.map(({ id }) => id) };
    };
    const before = await state();
    const expect = ['k3', 'k99'];
    for (const undoOnFail of [false, true])
      await assert.rejects(
        connection.request('run', { sandbox, line: `echo ran > ${ws}/ran`, undoOnFail, expect }),
        refused('unknownCheckpoint'),
      );
    await assert.rejects(connection.request('checkpoint/create', { sandbox, expect }), refused('unknownCheckpoint'));
    await assert.rejects(rollback('k1', { expect }), refused('unknownCheckpoint'));
    await assert.rejects(
      connection.request('branch/fork', { sandbox, checkpoint: 'k1', expect }),
      refused('unknownCheckpoint'),
    );
    assert.deepEqual(await state(), before);
    assert.equal((await run(`ls ${ws}/ran`, undefined, false)).exitCode, 2);
    assert.equal(await rollback('k2'), 'warm');
  });

  it('one that is deleted later is no error', async () => {
    const made = (await run('true')).checkpoint!.id;
    await rollback(LAST, { expect: [made, 'k2'] });
    await standing(made);
    await connection.request('checkpoint/delete', { sandbox, checkpoint: made });
    await gone(made);
    await run('true', undefined, false);
    assert.equal(await rollback('k2'), 'warm');
    await assert.rejects(run('true', [made]), ({ code }: TeleportError) => code === 'unknownCheckpoint');
  });
});
