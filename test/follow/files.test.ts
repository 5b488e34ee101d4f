/** Writing into a live branch from outside: as its user, and never out of it. Needs root. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TeleportError } from '../../helper/protocol/errors.ts';
import type { Params } from '../../helper/protocol/methods.ts';
import { HelperProcess, needsMachine, workspace } from '../daemon/helper-process.ts';
import { Rig } from '../states/rig.ts';

const UID = 1502;

for (const uid of [UID, 0])
  describe(`files of the head, ${uid ? 'of a plain user' : 'of root'}`, function () {
    this.timeout(60_000);
    let rig: Rig;
    /** Of the host's, beside the sandbox; a sandbox sees it only if its base shows it. */
    let outside: string;
    let at: (name: string) => string;

    type Methods = 'file/write' | 'file/mkdir' | 'file/symlink' | 'file/rename' | 'file/remove';
    const ask = <M extends Methods>(method: M, params: Omit<Params<M>, 'sandbox'>) =>
      rig.connection.request(method, { sandbox: rig.sandbox, ...params } as Params<M>);
    const write = (path: string, text: string, more: Partial<Params<'file/write'>> = {}) =>
      ask('file/write', { path, data: Buffer.from(text).toString('base64'), ...more });
    const code = (answer: Promise<unknown>) =>
      answer.then(
        () => 'done',
        (error: TeleportError) => error.code,
      );

    before(async function () {
      needsMachine(this);
      // Not beside the workspace: what leads to that is root's, inside, and the plain user could make nothing there.
      outside = mkdtempSync('/tmp/te-outside-');
      writeFileSync(join(outside, 'victim'), 'untouched\n', { mode: 0o666 });
      rig = await Rig.make(uid, (workspace) => writeFileSync(join(workspace, 'a.txt'), 'one\n'));
      at = (name) => join(rig.workspace, name);
    });
    after(async () => {
      await rig?.end();
      if (outside) rmSync(outside, { recursive: true, force: true });
    });

    it('writes, and programs inside see it at once, as their own user’s', async () => {
      const { stat } = await write(at('a.txt'), 'two\n');
      assert.equal(stat.size, 4);
      await write(at('new.txt'), 'new\n', { mode: 0o755 });
      await ask('file/mkdir', { path: at('folder') });
      await ask('file/symlink', { path: at('folder/link'), target: '../a.txt' });
      await write(at('folder/link'), 'three\n');
      await ask('file/rename', { from: at('new.txt'), to: at('folder/moved.txt') });
      assert.equal(
        await rig.run(
          'cat a.txt folder/moved.txt; stat -c "%u %a" a.txt folder folder/moved.txt; readlink folder/link',
        ),
        `three\nnew\n${uid} 644\n${uid} 755\n${uid} 755\n../a.txt\n`,
      );
      assert.equal(readFileSync(at('a.txt'), 'utf8'), 'one\n', 'the workspace on disk is another matter');
      await ask('file/remove', { path: at('folder'), recursive: true });
      assert.equal(
        await rig.run('ls -d folder 2>&1; cat a.txt'),
        "ls: cannot access 'folder': No such file or directory\nthree\n",
      );
    });

    it('is read back by the word head, before and after a rollback', async () => {
      const read = async () => {
        const { data } = await rig.connection.request('file/read', {
          sandbox: rig.sandbox,
          at: 'head',
          path: at('b.txt'),
        });
        return Buffer.from(data, 'base64').toString();
      };
      await write(at('b.txt'), 'before\n');
      const kept = await rig.checkpoint();
      await write(at('b.txt'), 'after\n');
      assert.equal(await read(), 'after\n');
      await rig.connection.request('checkpoint/rollback', { sandbox: rig.sandbox, checkpoint: kept });
      assert.equal(await read(), 'before\n');
    });

    it('takes large files in parts, keeps links and running readers', async () => {
      const part = Buffer.alloc(8_000_000, 'x');
      await rig.run('echo short > big; ln big other; exec 9<big');
      await ask('file/write', { path: at('big'), data: part.toString('base64'), truncate: false });
      await ask('file/write', { path: at('big'), data: part.subarray(0, 10).toString('base64'), offset: part.length });
      assert.equal(await rig.run('stat -c %s big other; wc -c <&9'), '8000010\n8000010\n8000010\n');
      await write(at('big'), 'short again\n');
      assert.equal(await rig.run('cat other; exec 9<&-; rm big other'), 'short again\n');
    });

    it('says what stands in the way, and changes nothing then', async () => {
      await rig.run('mkdir -p d/e; echo x > d/e/f');
      assert.equal(await code(write(at('no/such/file'), 'x')), 'unknownPath');
      assert.equal(await code(write(at('none'), 'x', { create: false })), 'unknownPath');
      assert.equal(await code(write(at('a.txt'), 'x', { overwrite: false })), 'pathExists');
      assert.equal(await code(write(at('d'), 'x')), 'notAFile');
      assert.equal(await code(write(at('a.txt/x'), 'x')), 'notADirectory');
      assert.equal(await code(write('/', 'x')), 'notAFile');
      assert.equal(await code(ask('file/mkdir', { path: at('d') })), 'pathExists');
      assert.equal(await code(ask('file/remove', { path: at('d') })), 'folderNotEmpty');
      assert.equal(await code(ask('file/remove', { path: '/', recursive: true })), 'notAFile');
      assert.equal(await code(ask('file/rename', { from: at('d/e/f'), to: at('a.txt') })), 'pathExists');
      assert.equal(await code(write(at('a.txt'), 'x', { expected: { size: 1, mtimeMs: 1 } })), 'conflicts');
      assert.equal(await code(write(at('a.txt'), 'x', { expected: null })), 'conflicts');
      assert.equal(await code(write(`${at('a'.repeat(300))}`, 'x')), 'invalidRequest');
      assert.equal(await code(write('../x', 'x')), 'invalidRequest');
      assert.equal(await code(write(`${at('a')}/../../x`, 'x')), 'invalidRequest');
      assert.equal(await rig.run('cat a.txt d/e/f'), 'three\nx\n');
    });

    it('has the user’s rights and no others', async () => {
      await rig.run('mkdir locked; echo keep > locked/f; chmod 500 locked; echo k > ro; chmod 400 ro');
      const refused = uid ? 'notAllowed' : 'done';
      assert.equal(await code(write(at('locked/g'), 'x')), refused);
      assert.equal(await code(write(at('ro'), 'x')), refused);
      assert.equal(await code(write('/usr/bin/te-evil', 'x')), refused);
      assert.equal(await code(ask('file/remove', { path: '/usr/bin/env' })), refused);
      assert.ok(existsSync('/usr/bin/env'));
      assert.ok(!existsSync('/usr/bin/te-evil'));
    });

    it('passes no mount and opens no device, fifo or magic link', async () => {
      await rig.run(
        'mkfifo fifo; ln -s /proc/self/root magic; ln -s /proc/sys/kernel/hostname name; ln -s /dev/null null',
      );
      assert.equal(await code(write('/proc/sys/kernel/hostname', 'evil')), 'notAllowed');
      assert.equal(await code(write(at('name'), 'evil')), 'notAllowed');
      assert.equal(await code(write(at(`magic${outside}/victim`), 'evil')), 'notAllowed');
      assert.equal(await code(write(at('fifo'), 'x')), 'notAFile');
      assert.equal(await code(write(at('null'), 'x')), 'notAFile');
      assert.equal(await code(ask('file/remove', { path: '/proc/1', recursive: true })), 'notAllowed');
    });

    it('is led out by no link, absolute, relative or in the middle', async () => {
      const climb = '../'.repeat(40);
      await rig.run(
        `mkdir -p ${outside}; echo inner > ${outside}/victim; ln -s ${outside} abs; ln -s ${climb}${outside.slice(1)} rel; ln -s ${outside}/victim file`,
      );
      for (const path of ['abs/victim', 'rel/victim', 'file']) await write(at(path), `by ${path}\n`);
      await write(at('abs/made'), 'x');
      await ask('file/mkdir', { path: at('rel/folder') });
      await ask('file/rename', { from: at('abs/made'), to: at('rel/renamed') });
      await ask('file/remove', { path: at('abs/folder'), recursive: true });
      assert.equal(await rig.run(`cat ${outside}/victim; ls ${outside}`), 'by file\nrenamed\nvictim\n');
      assert.equal(readFileSync(join(outside, 'victim'), 'utf8'), 'untouched\n');
      assert.deepEqual(readdirSync(outside), ['victim']);
    });

    it('is led out by no race: a folder and a link swapped under its hands', async () => {
      // Two names that change places as fast as they can: a real folder, and a link to the outside's path.
      await rig.run(
        `rm -rf ${outside}; mkdir -p p/real; ln -s ${outside} p/evil; cat > swap.py <<'P'
import ctypes, os
libc = ctypes.CDLL(None)
while not os.path.exists('stop'):
    for _ in range(1000): libc.syscall(316 if os.uname().machine == 'x86_64' else 276, -100, b'p/real', -100, b'p/evil', 2)
P
(python3 swap.py >/dev/null 2>&1 &)`,
      );
      const went = new Set<string>();
      const deadline = Date.now() + 1500;
      for (let n = 0; Date.now() < deadline; n++) {
        went.add(await code(write(at('p/real/victim'), `race ${n}\n`)));
        went.add(await code(write(at(`p/real/n${n % 10}`), 'x')));
        went.add(await code(ask('file/remove', { path: at('p/real/victim'), recursive: true })));
      }
      await rig.run('touch stop; sleep 0.2; rm stop');
      assert.ok(went.has('done'), [...went].join());
      assert.equal(readFileSync(join(outside, 'victim'), 'utf8'), 'untouched\n');
      assert.deepEqual(readdirSync(outside), ['victim']);
    });

    it('removes what a link in a folder leads to for nobody', async () => {
      await rig.run(
        `mkdir -p t/deep; echo keep > kept; ln -s $PWD/kept t/l; ln -s $PWD t/deep/up; seq 1 50 | xargs -I{} touch t/deep/{}`,
      );
      await ask('file/remove', { path: at('t'), recursive: true });
      assert.equal(await rig.run('cat kept; ls -d t 2>/dev/null'), 'keep\n');
    });

    it('waits for a checkpoint, so that it has all of a write or nothing', async () => {
      const writes = Array.from({ length: 20 }, (_, n) => write(at('seen'), `${n}\n`));
      const kept = rig.checkpoint();
      await Promise.all([...writes, kept]);
      const both = await rig.connection.request('diff', { sandbox: rig.sandbox, from: await kept, path: at('seen') });
      assert.deepEqual(both.changes, []);
    });
  });

describe('a file that does not fit', function () {
  this.timeout(60_000);
  it('is taken back, and what was there is still there', async function () {
    needsMachine(this);
    const helper = await HelperProcess.start(400 * 1024 ** 2);
    const folder = workspace();
    try {
      const connection = await helper.connect();
      const sandbox = (await connection.request('sandbox/create', { workspace: folder })).sandbox.id;
      const run = async (line: string) => {
        const { output } = await connection.request('run', { sandbox, line, checkpoint: false });
        return Buffer.from(output, 'base64').toString();
      };
      await run('echo precious > f; for n in 1 2 3 4; do cat /dev/zero >> fill 2>/dev/null; done');
      const data = Buffer.alloc(8_000_000, 'y').toString('base64');
      for (const name of ['f', 'h'])
        await assert.rejects(
          connection.request('file/write', { sandbox, path: join(folder, name), data }),
          (error: TeleportError) => error.code === 'volumeFull',
        );
      assert.equal(await run('cat f; ls h 2>/dev/null; rm fill'), 'precious\n');
    } finally {
      await helper.stop();
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
