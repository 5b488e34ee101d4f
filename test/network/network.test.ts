import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Connection } from '../../helper/client/connection.ts';
import { whyFailed } from '../../helper/daemon/why.ts';
import { addressPool, overlaps } from '../../helper/engine/firewall.ts';
import type { Params, Result } from '../../helper/protocol/methods.ts';
import { HelperProcess, needsMachine, workspace } from '../daemon/helper-process.ts';
import { FULL_PORT, HOST, NEIGHBOUR, Outside, SERVER, SLOW_PORT, STREAM_PORT } from './outside.ts';

/** Says what happens to a connection: numbers as they come, and how it ended, when. */
const CLIENT = `
import socket, sys, time
s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
out = open(sys.argv[3], 'w', buffering=1)
out.write('open\\n')
if sys.argv[4:] == ['half']: s.shutdown(socket.SHUT_WR)
try:
    while sys.argv[4:] == ['full']: s.send(b'x' * 100000)
    while True:
        d = s.recv(4096)
        if not d: out.write('end\\n'); break
        out.write(d.decode())
except OSError as e:
    out.write('error %s %f\\n' % (type(e).__name__, time.time()))
`;
const INNER_SERVER = `
import socket, sys, threading
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind((sys.argv[1], 7000)); s.listen()
def echo(c):
    while True:
        d = c.recv(100)
        if not d: break
        c.sendall(d)
while True: threading.Thread(target=echo, args=(s.accept()[0],)).start()
`;
const INNER_CLIENT = `
import socket, sys, time
s = socket.create_connection((sys.argv[1], 7000)); s.settimeout(2)
n = 0
while True:
    n += 1
    s.sendall(b'%d' % n)
    open('echoed', 'w').write(s.recv(100).decode())
    time.sleep(0.01)
`;

describe('network', () => {
  it('takes addresses that the host has no route to', () => {
    const header = 'Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask';
    const route = (device: string, destination: string, mask: string): string =>
      `${device}\t${destination}\t0\t1\t0\t0\t0\t${mask}`;
    assert.deepEqual([...addressPool(header)], [10, 213]);
    assert.deepEqual([...addressPool(`${header}\n${route('vpn', '0000000A', '000000FF')}`)], [172, 29]);
    assert.deepEqual([...addressPool(`${header}\n${route('tpenvr0', '0000D50A', 'FEFFFFFF')}`)], [10, 213]);
    assert.deepEqual([...addressPool(`${header}\n${route('eth0', '00000000', '00000000')}`)], [10, 213]);
    assert.ok(overlaps(0x0a000000, 8, 0x0ad50000, 16) && !overlaps(0x0a000000, 16, 0x0ad50000, 16));
  });

  it('knows a failed look-up when it reads one', () => {
    const none = { name: 'api', network: 'none' } as const;
    const said = (text: string, exitCode = 1): string | undefined =>
      whyFailed({ exitCode, output: Buffer.from(text) }, none);
    for (const text of [
      'curl: (6) Could not resolve host: example.test',
      'npm error code EAI_AGAIN',
      "fatal: unable to access 'https://x/': Could not resolve host: x",
      "W: Temporary failure resolving 'deb.example.test'",
      'socket.gaierror: [Errno -3] Temporary failure in name resolution',
      'dial tcp: lookup proxy.example.test on 169.254.77.53:53: dial udp: connect: network is unreachable',
    ])
      assert.match(said(text) ?? '', /teleport-env network api nat/, text);
    assert.equal(said('1 test failed'), undefined);
    assert.equal(said('Could not resolve host', 0), undefined);
    assert.equal(whyFailed({ exitCode: 1, output: Buffer.from('ENOTFOUND') }, { ...none, network: 'nat' }), undefined);
  });

  describe('of a sandbox', () => {
    let outside: Outside;
    let helper: HelperProcess;
    let connection: Connection;
    let sandbox: string;
    let ws: string;

    before(async function () {
      needsMachine(this);
      for (const [tool, ...args] of [
        ['nft', '--version'],
        ['ip', '-V'],
      ])
        try {
          execFileSync(tool!, args);
        } catch {
          this.skip();
        }
      outside = await Outside.make();
      helper = await HelperProcess.start();
      connection = await helper.connect();
    });
    after(async () => {
      await helper?.stop();
      outside?.end();
    });
    beforeEach(async () => {
      ws = workspace({ 'client.py': CLIENT, 'inner-server.py': INNER_SERVER, 'inner-client.py': INNER_CLIENT });
    });
    afterEach(async function () {
      if (this.currentTest?.state === 'failed') console.error(helper.logText());
      if (sandbox) await connection.request('sandbox/remove', { sandbox });
      sandbox = '';
      rmSync(ws, { recursive: true, force: true });
    });

    async function make(network: 'none' | 'nat', lan = false): Promise<void> {
      sandbox = (await connection.request('sandbox/create', { workspace: ws, network, lan })).sandbox.id;
    }
    async function run(line: string, more: Partial<Params<'run'>> = {}): Promise<Result<'run'> & { text: string }> {
      const ran = await connection.request('run', { sandbox, line, checkpoint: false, ...more });
      return { ...ran, text: Buffer.from(ran.output, 'base64').toString() };
    }
    const set = (network: 'none' | 'nat', lan = false) => connection.request('network/set', { sandbox, network, lan });
    const page = (where: string, branch?: string) =>
      run(
        `python3 -c "import urllib.request as u; print(u.urlopen('http://${where}/', timeout=3).read().decode())" 2>&1 | tail -1`,
        { branch },
      ).then(({ text }) => text.trim());
    async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
      for (let i = 0; i < 100; i++, await sleep(30)) if (await holds()) return;
      assert.fail(`${what}: not within 3 s`);
    }
    const read = async (file: string, branch?: string) => (await run(`cat ${file} 2>/dev/null`, { branch })).text;
    async function stream(name: string, port = STREAM_PORT, more = ''): Promise<void> {
      await run(`python3 client.py ${SERVER} ${port} ${name} ${more} >/dev/null 2>${name}.err &`);
      await until(`${name} is connected`, async () => (await read(name)).includes('open'));
    }

    it('is none by default: no name, no address, told at once and with the way to allow it', async () => {
      await make('none');
      const ran = await run('curl -sS http://example.test/', { checkpoint: true });
      assert.notEqual(ran.exitCode, 0);
      assert.match(ran.hint ?? '', /teleport-env network \S+ nat/);
      assert.equal(ran.checkpoint?.hint, ran.hint);
      assert.ok(ran.durationMs < 1000, `${ran.durationMs} ms`);
      assert.match(await page(SERVER), /unreachable/);
    });

    it('is switched while processes run, and names resolve then', async () => {
      await make('none');
      await run('X=5; sleep 1000 & true');
      assert.equal((await set('nat')).sandbox.network, 'nat');
      assert.equal(await page('example.test'), `hello from ${SERVER}`);
      assert.equal((await run('echo $X; jobs -r | wc -l')).text, '5\n1\n');
      await stream('s');
      outside.ended.length = 0;
      await set('none');
      await until('the stream is cut', async () => (await read('s')).includes('error'));
      await until('at the far end too', async () => outside.ended.length > 0);
      assert.equal(outside.ended[0]!.how, 'reset');
      assert.match(await page(SERVER), /unreachable/);
      await set('nat');
      assert.equal(await page('example.test'), `hello from ${SERVER}`);
    });

    it('resolves names over TCP as well', async () => {
      await make('nat');
      const { text } = await run(
        `RES_OPTIONS=use-vc python3 -c "import socket; print(socket.gethostbyname('other.test'))"`,
      );
      assert.equal(text.trim(), SERVER);
    });

    it('reaches neither the host nor its local network, unless allowed, whatever the program tries', async () => {
      await make('nat');
      assert.equal(await page(SERVER), `hello from ${SERVER}`);
      const gateway = (await run("ip route | sed -n 's/^default via \\([0-9.]*\\).*/\\1/p'")).text.trim();
      assert.match(gateway, /^10\.213\./);
      for (const where of [HOST, gateway, NEIGHBOUR, '192.168.77.2', '198.51.100.1'])
        assert.doesNotMatch(await page(where), /hello/, where);
      // Bound to the device the kernel takes an address to be on link where routes say otherwise.
      const bound = await run(
        `python3 -c "
import socket
for a in '${HOST} ${gateway} ${NEIGHBOUR}'.split():
    s = socket.socket(); s.settimeout(1); s.setsockopt(socket.SOL_SOCKET, 25, b'eth0')
    try: s.connect((a, 80)); print('reached', a)
    except OSError as e: print('no')
"`,
      );
      assert.equal(bound.text, 'no\nno\nno\n');
      await set('nat', true);
      assert.equal(await page(NEIGHBOUR), `hello from ${NEIGHBOUR}`);
      assert.match(await page(HOST), /hello/);
      await set('nat');
      assert.doesNotMatch(await page(NEIGHBOUR), /hello/);
    }).timeout(90_000);

    it('keeps a stream from outside across twenty checkpoints', async () => {
      await make('nat');
      await stream('s');
      for (let i = 0; i < 20; i++) await run(`echo ${i} > n`, { checkpoint: true });
      // One with so many files that a successor would take the place of the head.
      await run('mkdir many; for i in $(seq 800); do echo > many/$i; done', { checkpoint: true });
      const before = (await read('s')).split('\n').length;
      await until('it goes on', async () => (await read('s')).split('\n').length > before + 20);
      const lines = (await read('s')).trim().split('\n').slice(1).map(Number);
      assert.deepEqual(
        lines.slice(0, -1),
        lines.slice(0, -1).map((_, i) => i + 1),
      );
    });

    for (const way of ['warm', 'cold'] as const)
      it(`resets connections to the outside at a ${way} rollback, and the network is there`, async () => {
        await make('nat');
        await stream('s');
        await stream('half', SLOW_PORT, 'half');
        await stream('full', FULL_PORT, 'full');
        const { checkpoint } = await connection.request('checkpoint/create', { sandbox });
        if (way === 'warm') await sleep(1500);
        else await connection.request('checkpoint/create', { sandbox });
        outside.ended.length = 0;
        const began = Date.now();
        const moved = await connection.request('checkpoint/rollback', {
          sandbox,
          checkpoint: checkpoint.id,
          discard: true,
        });
        if (way === 'warm') assert.equal(moved.path, way);
        const done = Date.now();
        for (const name of ['s', 'half', 'full']) {
          await until(`${name} hears of it`, async () => (await read(name)).includes('error'));
          const [, kind, at] = /error (\S+) ([\d.]+)/.exec(await read(name))!;
          assert.match(kind!, /ConnectionResetError|ConnectionAbortedError/);
          const after = Number(at) * 1000 - done;
          assert.ok(after < 100, `${name} heard ${after} ms after the rollback, which took ${done - began} ms`);
        }
        // Seen from the other side: a packet says so, none is waited for in vain.
        await until('the far ends hear of it', async () => outside.ended.length >= 3);
        for (const { port, how, at } of outside.ended) {
          const name = port === SLOW_PORT ? 'half' : port === FULL_PORT ? 'full' : 's';
          assert.equal(how, 'reset', name);
          console.log(`        far end of ${name}: a reset ${Math.round(at - done)} ms after the rollback's answer`);
        }
        assert.equal(await page('example.test'), `hello from ${SERVER}`);
      });

    it('keeps inner connections in forks, those over its own address too', async () => {
      await make('nat');
      const own = (await run("hostname -I | cut -d' ' -f1")).text.trim();
      assert.match(own, /^10\.213\./);
      await run(`python3 inner-server.py ${own} & sleep 0.3; python3 inner-client.py ${own} 2>err & sleep 0.3`);
      const { checkpoint } = await connection.request('checkpoint/create', { sandbox });
      const forks = await Promise.all(
        [1, 2].map(() => connection.request('branch/fork', { sandbox, checkpoint: checkpoint.id })),
      );
      await connection.request('checkpoint/rollback', { sandbox, checkpoint: checkpoint.id });
      for (const branch of [undefined, ...forks.map((f) => f.branch)]) {
        const first = Number(await read('echoed', branch));
        await until('it goes on', async () => Number(await read('echoed', branch)) > first + 5);
        assert.equal(await page(SERVER, branch), `hello from ${SERVER}`);
      }
    });

    it('lives beside rules that drop what is forwarded, as Docker and ufw have them', async () => {
      outside.nft(
        'table ip filter {\n chain FORWARD {\n type filter hook forward priority filter; policy drop;\n }\n}\n',
      );
      try {
        await make('nat');
        assert.equal(await page(SERVER), `hello from ${SERVER}`);
        assert.doesNotMatch(await page(NEIGHBOUR), /hello/);
      } finally {
        outside.nft('delete table ip filter');
      }
    });

    it('outlives the helper, and nothing of it is left when the sandbox goes', async () => {
      await make('nat');
      await stream('s');
      await helper.restart();
      connection = await helper.connect();
      const before = (await read('s')).length;
      await until('the stream goes on', async () => (await read('s')).length > before);
      assert.equal(await page('example.test'), `hello from ${SERVER}`);
      await connection.request('sandbox/remove', { sandbox });
      sandbox = '';
      const left = (): boolean => /tpenv/.test(execFileSync('ip', ['-br', 'link'], { encoding: 'utf8' }));
      await until('its interfaces are gone', async () => !left());
    });
  });
});
