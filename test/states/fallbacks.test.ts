/** Programs that would use what no checkpoint can carry are told so at once, and do without: then they can be carried. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { needsMachine } from '../daemon/helper-process.ts';
import { compile } from './catalogue.ts';
import { Rig } from './rig.ts';

const CHROMIUM = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);
const STRICT = process.env.CI === 'true';

/** Tools with a sandbox of their own; where they may be installed, they are. */
function needsTool(suite: Mocha.Context, path: string | undefined, name: string): void {
  if (path && existsSync(path)) return;
  if (!STRICT) suite.skip();
  const environment = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  for (const words of [['update'], ['install', '-y', '--no-install-recommends', name]])
    execFileSync('apt-get', ['-qq', ...words], { env: environment, stdio: 'ignore' });
}

const UID = 1500;

for (const uid of [0, UID])
  describe(`falling back, as ${uid ? 'a plain user' : 'root inside'}`, function () {
    this.timeout(60_000);
    let rig: Rig;
    before(async function () {
      needsMachine(this);
      rig = await Rig.make(uid, (workspace) => compile('fallbacks', join(workspace, 'bin/fallbacks')));
    });
    after(() => rig?.end());

    /** What runs is carried: a checkpoint and a rollback, warm and cold, and it goes on. */
    async function carried(goesOn: string): Promise<void> {
      assert.equal(await rig.run(goesOn), 'goes on\n', 'before');
      const first = await rig.checkpoint();
      await rig.verified(first);
      for (const way of ['warm', 'cold'] as const) {
        await rig.rollbackBy(way, first);
        assert.equal(await rig.run(goesOn), 'goes on\n', way);
      }
    }

    it('a program that likes io_uring is told that there is none, and reads by itself', async () => {
      const told = Object.fromEntries(
        (await rig.run('bin/fallbacks')).split('\n').map((line) => [line.replace(/ \S+$/, ''), line.split(' ').at(-1)]),
      );
      delete told[''];
      assert.deepEqual(told, {
        io_uring_setup: 'ENOSYS',
        userfaultfd: 'EPERM',
        'unshare user': 'EPERM',
        'unshare pid': 'EPERM',
        'unshare net': 'EPERM',
        'unshare mount': 'EPERM',
        'clone user': 'EPERM',
        'clone pid': 'EPERM',
        'clone net': 'EPERM',
        clone: 'works',
        clone3: 'ENOSYS',
        memfd_secret: 'ENOSYS',
        pkey_alloc: 'ENOSPC',
        perf_event_open: 'EPERM',
        bpf: 'EPERM',
        'multipath tcp': 'EPROTONOSUPPORT',
        'kernel crypto socket': 'EAFNOSUPPORT',
        'host socket': 'EAFNOSUPPORT',
        tcp: 'works',
        'read instead': 'works',
      });
    });

    it('node that is asked to use io_uring', async () => {
      const program =
        "const fs = require('fs/promises'); (async () => { for (;;) { await fs.writeFile('node-file', String(process.uptime())); await new Promise((r) => setTimeout(r, 20)); } })()";
      await rig.run(`UV_USE_IO_URING=1 node -e "${program}" >>log 2>&1 &\nsleep 1`);
      await carried('a=$(cat node-file); sleep 0.4; b=$(cat node-file); [ "$a" != "$b" ] && echo goes on');
      await rig.run('pkill -9 node');
    });

    it('unshare says that it may not', async () => {
      assert.match(await rig.run('unshare --user --map-root-user true 2>&1'), /Operation not permitted/);
    });

    it('bubblewrap says that it may not', async function () {
      needsTool(this, '/usr/bin/bwrap', 'bubblewrap');
      const said = await rig.run('bwrap --ro-bind / / --unshare-all true 2>&1; echo $?');
      assert.match(said, /bwrap: .*(permission|not permitted)[\s\S]*1\n$/i);
    });

    it('a browser says that it has no sandbox of its own, and works without', async function () {
      needsTool(this, CHROMIUM, 'chromium');
      const chromium = CHROMIUM ?? '/usr/bin/chromium';
      const words = '--headless --disable-gpu --disable-dev-shm-usage --user-data-dir=$PWD/browser';
      const refused = await rig.run(`${chromium} ${words} --dump-dom 'data:text/html,<p>shown' 2>&1; echo $?`);
      assert.match(refused, /no usable sandbox|without --no-sandbox|namespace sandbox/i);
      assert.doesNotMatch(refused, /<p>shown/);
      const works = await rig.run(`${chromium} ${words} --no-sandbox --dump-dom 'data:text/html,<p>shown' 2>/dev/null`);
      assert.match(works, /<p>shown/);
    });

    // The slowest here: once is enough.
    if (uid)
      it('a browser without it is carried, pages and all', async function () {
        needsTool(this, CHROMIUM, 'chromium');
        const chromium = CHROMIUM ?? '/usr/bin/chromium';
        await rig.run(
          `rm -rf browser; ${chromium} --headless --disable-gpu --no-sandbox --user-data-dir=$PWD/browser --remote-debugging-port=9222 ` +
            `'data:text/html,<title>a page' >>log 2>&1 &\n` +
            'for i in $(seq 100); do curl -fs localhost:9222/json/list | grep -q \'"title": "a page"\' && break; sleep 0.1; done',
        );
        await carried('curl -fsm 5 localhost:9222/json/list | grep -q \'"title": "a page"\' && echo goes on');
        await rig.run('pkill -9 chrom');
      });
  });
