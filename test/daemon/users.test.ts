import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Connection } from '../../helper/client/connection.ts';
import { TeleportError } from '../../helper/protocol/errors.ts';
import { METHODS, type Method } from '../../helper/protocol/methods.ts';
import { NO_USAGE } from '../../helper/protocol/usage.ts';
import { Rig } from '../states/rig.ts';
import { needsMachine } from './helper-process.ts';

const UID = 1501;

describe('a plain user', function () {
  this.timeout(60_000);
  let rig: Rig;
  let secret: string;
  before(async function () {
    needsMachine(this);
    secret = mkdtempSync('/var/lib/teleport-test-');
    writeFileSync(join(secret, 'secret'), 'secret', { mode: 0o600 });
    rig = await Rig.make(UID, () => {});
  });
  after(async () => {
    await rig?.end();
    rmSync(secret, { recursive: true, force: true });
  });

  it('is who the sandbox runs as, without a way to more', async () => {
    const said = await rig.run(
      "id -u; grep -E 'NoNewPrivs|Seccomp:' /proc/self/status | tr -d '\\t'; echo x > /proc/sys/kernel/hostname",
    );
    assert.match(said, /^1501\nNoNewPrivs:1\nSeccomp:2\n[\s\S]*(denied|Read-only|not permitted)/i);
    assert.match(
      await rig.run(`cat ${secret}/secret; cat /etc/shadow; ls /root`),
      /^(cat|ls): [^\n]*\n(cat|ls): [^\n]*\nls: /,
    );
  });

  it('reads nothing of the host through the helper, which is root', async () => {
    const ask = (path: string) =>
      rig.connection.request('file/read', { sandbox: rig.sandbox, at: 'k0', path }).then(
        () => 'read',
        (error: TeleportError) => error.code,
      );
    for (const path of [`${secret}/secret`, '/etc/shadow', '/etc/passwd', '/root/.bashrc'])
      assert.equal(await ask(path), 'unknownPath');
    await rig.run('echo mine > mine; ln -s /etc/passwd link');
    const { checkpoint } = await rig.connection.request('checkpoint/create', { sandbox: rig.sandbox });
    const read = (name: string) =>
      rig.connection.request('file/read', { sandbox: rig.sandbox, at: checkpoint.id, path: join(rig.workspace, name) });
    assert.equal(Buffer.from((await read('mine')).data, 'base64').toString(), 'mine\n');
    await assert.rejects(read('link'), (error) => error instanceof TeleportError && error.code === 'unknownPath');
  });

  it('sees and touches nothing of another user’s sandbox, whatever is asked', async () => {
    const theirs = await rig.helper.connect();
    const { sandbox } = await theirs.request('sandbox/create', { workspace: rig.workspace, name: 'theirs' });
    const { checkpoint } = await theirs.request('checkpoint/create', { sandbox: sandbox.id });
    const heard: string[] = [];
    rig.connection.onAny((name, params) => {
      if ((params as { sandbox?: unknown }).sandbox !== undefined) heard.push(`${name} ${JSON.stringify(params)}`);
    });
    /** Fits whatever takes a sandbox; what a method does not know is left out of it. */
    const all = {
      checkpoint: checkpoint.id,
      branch: sandbox.head,
      from: 'k0',
      at: 'k0',
      path: '/etc/hostname',
      target: 'x',
      data: '',
      mode: 0o777,
      session: 'x0',
      kind: 'process',
      argv: ['true'],
      line: 'true',
      cols: 80,
      rows: 24,
      signal: 9,
      label: null,
      network: 'nat',
      env: {},
      usage: NO_USAGE,
    };
    const of: Partial<Record<Method, object>> = {
      'checkpoint/create': { label: 'mine' },
      run: { checkpoint: true, label: 'mine' },
      'file/rename': { from: '/a', to: '/b' },
    };
    const methods = (Object.keys(METHODS) as Method[]).filter((name) => 'sandbox' in METHODS[name].params.shape);
    assert.ok(methods.length > 30, String(methods));
    for (const method of methods)
      for (const name of [sandbox.id, 'theirs']) {
        const params = { ...all, ...of[method], sandbox: name } as never;
        const { error } = METHODS[method].params.safeParse(params);
        assert.equal(error, undefined, `this test must learn ${method}: ${error}`);
        await assert.rejects(
          rig.connection.request(method, params),
          (e) => e instanceof TeleportError && e.code === 'unknownSandbox',
          method,
        );
      }
    const { deleted } = await rig.connection.request('gc', { keep: 1 });
    assert.ok(!deleted.some((one) => one.sandbox === sandbox.id));
    const ids = async (connection: Connection) =>
      (await connection.request('sandbox/list', {})).sandboxes.map(({ id }) => id);
    assert.deepEqual(await ids(rig.connection), [rig.sandbox]);
    await assert.rejects(rig.connection.request('shutdown', {}), (e) => (e as TeleportError).code === 'notAllowed');
    const { checkpoints } = await theirs.request('checkpoint/list', { sandbox: sandbox.id });
    assert.deepEqual(
      checkpoints.map(({ id, label }) => [id, label]),
      [
        [checkpoint.id, null],
        ['k0', null],
      ],
    );
    await theirs.request('sandbox/remove', { sandbox: sandbox.id });
    assert.deepEqual(await ids(theirs), [rig.sandbox]);
    assert.deepEqual(
      heard.filter((told) => told.includes(`"${sandbox.id}"`)),
      [],
    );
  });

  it('is told what would let it be root, and is root where the administrator says so', async () => {
    const { sandbox, connection, workspace } = rig;
    const ran = await connection.request('run', { sandbox, line: 'su -c id </dev/null', checkpoint: false });
    assert.notEqual(ran.exitCode, 0);
    assert.match(
      ran.hint ?? '',
      /can become root; where the administrator allows it \(\/etc\/teleport-env\/root-inside\): .*--root/,
    );
    const create = () => connection.request('sandbox/create', { workspace, root: true });
    await assert.rejects(
      create,
      (error: TeleportError) => error.code === 'notAllowed' && /1501/.test(error.hint ?? ''),
    );
    writeFileSync(`${rig.helper.state}-root-inside`, `${UID}\n`);
    const made = (await create()).sandbox;
    assert.deepEqual([made.root, made.owner], [true, UID]);
    const line =
      'id -u; su -c "id -un" || exit 3; sudo -n id -un || exit 4; touch /usr/made; chown 33:33 /usr/made; stat -c %u /usr/made; echo x > /proc/sys/kernel/hostname; mknod /tmp/d b 8 0; ls -l /dev/null';
    const inside = await connection.request('run', { sandbox: made.id, line });
    assert.match(
      Buffer.from(inside.output, 'base64').toString(),
      /^0\nroot\nroot\n33\n[\s\S]*(Read-only|denied|not permitted)[\s\S]*not permitted/i,
    );
    assert.ok(!existsSync('/usr/made'));
    await connection.request('checkpoint/rollback', { sandbox: made.id, checkpoint: inside.checkpoint!.id });
    const after = await connection.request('run', { sandbox: made.id, line: 'id -u', checkpoint: false });
    assert.equal(Buffer.from(after.output, 'base64').toString(), '0\n');
    await connection.request('sandbox/remove', { sandbox: made.id });
    rmSync(`${rig.helper.state}-root-inside`);
  });
});
