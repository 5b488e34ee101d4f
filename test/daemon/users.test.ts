import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { TeleportError } from '../../helper/protocol/errors.ts';
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
});
