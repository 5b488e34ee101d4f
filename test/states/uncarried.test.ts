/**
 * What processes can hold and no checkpoint can carry. Each is a plain refusal that names process and resource, after which
 * everything goes on; a checkpoint of files only is there for those who need one all the same.
 */
import assert from 'node:assert/strict';
import { TeleportError } from '../../helper/protocol/errors.ts';
import { needsMachine } from '../daemon/helper-process.ts';
import { namesIn } from './catalogue.ts';
import { Rig } from './rig.ts';

/** By the program of programs/uncarried.py: what the error says of the resource. */
const CASES: Record<string, RegExp> = {
  traced: /traced by a debugger/,
  packet_pipe: /packet mode/,
  early_message: /has not accepted/,
  watch_of_deleted: /file watch/,
  message_queue: /message queue/,
  seccomp_notifier: /seccomp notify/,
};

describe('what no checkpoint can carry', function () {
  this.timeout(60_000);
  let rig: Rig;
  before(async function () {
    needsMachine(this);
    rig = await Rig.make();
    await rig.run('X=kept');
  });
  after(() => rig?.end());
  afterEach(() => rig?.run('pkill -9 -f uncarried; rm -rf go work/* ready/* results/*'));

  async function refusal(work: Promise<unknown>): Promise<TeleportError> {
    const error = await work.then(
      () => assert.fail('it was captured'),
      (e) => e,
    );
    assert.ok(error instanceof TeleportError, String(error));
    return error;
  }

  it('is all that is tested here', () =>
    assert.deepEqual(namesIn({ modules: ['uncarried'], node: [], c: [] }).sort(), Object.keys(CASES).sort()));

  for (const [name, resource] of Object.entries(CASES))
    it(name, async () => {
      assert.deepEqual(await rig.start({ modules: [`uncarried:${name}`], node: [], c: [] }), new Map());
      const error = await refusal(rig.checkpoint());
      assert.equal(error.code, 'cannotCapture');
      assert.equal(error.process?.command, name.slice(0, 15), error.message);
      assert.match(error.resource ?? '', resource, error.message);
      // By the number that it has inside.
      assert.equal(await rig.run(`cat /proc/${error.process?.pid}/comm`), `${name.slice(0, 15)}\n`);
      assert.match(error.message, new RegExp(`Process ${error.process?.pid}\\b`));
      assert.match(error.hint ?? '', /files only/);
      assert.equal(await rig.run('echo $X'), 'kept\n');
      assert.deepEqual(await rig.check([name]), new Map([[name, 'pass']]));
    });

  it('a rollback that would save such a head is refused before anything changes, and one that discards it works', async () => {
    await rig.run('pkill -9 -f uncarried');
    const good = await rig.checkpoint();
    await rig.start({ modules: ['uncarried:traced'], node: [], c: [] });
    const { sandbox } = rig;
    const { head } = await rig.get();
    const error = await refusal(rig.connection.request('checkpoint/rollback', { sandbox, checkpoint: good }));
    assert.equal(error.code, 'cannotCapture');
    assert.equal((await rig.get()).head, head);
    assert.equal(await rig.run('echo $X; pgrep -c traced'), 'kept\n2\n');
    await rig.rollback(good);
    assert.equal(await rig.run('echo $X; pgrep -c traced'), 'kept\n0\n');
  });

  it('files only are offered instead, and say so', async () => {
    await rig.start({ modules: ['uncarried:traced'], node: [], c: [] });
    const { sandbox } = rig;
    await rig.run('echo before > file; X=changed');
    const { checkpoint } = await rig.connection.request('checkpoint/create', { sandbox, filesOnly: true });
    assert.equal(checkpoint.state.filesOnly, true);
    const { checkpoints } = await rig.connection.request('checkpoint/list', { sandbox });
    assert.equal(checkpoints.find((c) => c.id === checkpoint.id)?.state.filesOnly, true);
    assert.equal(await rig.run('echo after > file; echo $X; pgrep -c traced'), 'changed\n2\n', 'all goes on');
    await rig.rollback(checkpoint.id);
    assert.equal(
      await rig.run('cat file; echo "X=$X"; pgrep -c traced'),
      'before\nX=\n0\n',
      'files, and a fresh shell',
    );
    const again = await rig.checkpoint();
    await rig.verified(again);
  });

  it('devices are not there to be held', async () => {
    assert.equal(
      await rig.run('ls /dev | xargs'),
      'fd full null ptmx pts random shm stderr stdin stdout tty urandom zero\n',
    );
    assert.match(
      await rig.run('mknod loop b 7 0 2>&1; mknod tun c 10 200 2>&1'),
      /(Operation not permitted[\s\S]*){2}/,
    );
  });
});
