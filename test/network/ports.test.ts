import assert from 'node:assert/strict';
import { readFileSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Connection } from '../../helper/client/connection.ts';
import { PortForward, PortForwards } from '../../helper/client/forward.ts';
import { countInUse } from '../../helper/engine/sockets.ts';
import { TeleportError } from '../../helper/protocol/errors.ts';
import type { NotificationParams, Params, Result } from '../../helper/protocol/methods.ts';
import { cli, json } from '../cli/run-cli.ts';
import { HelperProcess, needsMachine, workspace } from '../daemon/helper-process.ts';
import { httpGet } from './http-get.ts';

/** Answers what is in its memory; `/set?WORD` changes it. */
const SERVER = `
import http.server, socket, sys
state = 'first'
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        global state
        if self.path.startswith('/set?'): state = self.path[5:]
        if self.path == '/big': body = b'x' * 5000000
        else: body = state.encode()
        self.send_response(200); self.send_header('content-length', str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *a): pass
class S(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6 if ':' in sys.argv[2] else socket.AF_INET
S((sys.argv[2], int(sys.argv[1])), H).serve_forever()
`;

describe('ports', () => {
  it('counts sockets as the kernel writes them', () => {
    const four = 'sockets: used 9\nTCP: inuse 3 orphan 0 tw 1 alloc 4 mem 0\nUDP: inuse 1 mem 0\nUDPLITE: inuse 0\n';
    assert.deepEqual(countInUse(four, 'TCP6: inuse 2\nUDP6: inuse 0\n'), { tcp: 5, udp: 1 });
    assert.deepEqual(countInUse(four, ''), { tcp: 3, udp: 1 });
  });

  describe('of a sandbox', () => {
    let helper: HelperProcess;
    let connection: Connection;
    let sandbox: string;
    let ws: string;
    const forwards: PortForward[] = [];

    before(async function () {
      needsMachine(this);
      helper = await HelperProcess.start();
      connection = await helper.connect();
    });
    after(async () => {
      await helper?.stop();
    });
    beforeEach(async () => {
      ws = workspace({ 'server.py': SERVER });
      sandbox = (await connection.request('sandbox/create', { workspace: ws })).sandbox.id;
    });
    afterEach(async function () {
      if (this.currentTest?.state === 'failed') console.error(helper.logText());
      for (const forward of forwards.splice(0)) forward.close();
      await connection.request('sandbox/remove', { sandbox });
      rmSync(ws, { recursive: true, force: true });
    });

    const run = (line: string, more: Partial<Params<'run'>> = {}): Promise<Result<'run'>> =>
      connection.request('run', { sandbox, line, ...more });
    const serve = (port: number, address = '0.0.0.0'): Promise<Result<'run'>> =>
      run(`python3 server.py ${port} ${address} >/dev/null 2>&1 &`, { checkpoint: false });
    async function listening(port: number, branch?: string): Promise<void> {
      for (let i = 0; i < 200; i++, await sleep(25)) {
        const { ports } = await connection.request('port/list', { sandbox, branch });
        if (ports.some((p) => p.port === port)) return;
      }
      assert.fail(`nothing listens on ${port} after 5 s`);
    }
    async function forward(port: number, branch?: string, local?: number): Promise<PortForward> {
      const made = await PortForward.open(connection, { sandbox, branch, port, local });
      forwards.push(made);
      return made;
    }

    it('are found by themselves, with who listens, and are told when they go', async () => {
      const told: NotificationParams<'ports/changed'>[] = [];
      const heard = (wanted: (p: NotificationParams<'ports/changed'>) => boolean) =>
        new Promise<void>((resolve) => {
          const stop = connection.on('ports/changed', (p) => {
            told.push(p);
            if (!wanted(p)) return;
            stop();
            resolve();
          });
        });
      const came = heard((p) => p.ports.some((one) => one.port === 8123));
      await serve(8123);
      await came;
      const port = told.at(-1)!.ports[0]!;
      assert.match(port.command ?? '', /server\.py 8123/);
      const went = heard((p) => p.ports.length === 0);
      await run('kill %1; wait', { checkpoint: false });
      await went;
    });

    it('cost the helper nothing while nothing happens', async () => {
      await serve(8123);
      await listening(8123);
      await sleep(2500);
      const before = cpuMs(helper.pid);
      await sleep(4000);
      assert.ok(cpuMs(helper.pid) - before <= 20, `${cpuMs(helper.pid) - before} ms of CPU in 4 s at rest`);
    }).timeout(20_000);

    it('show an old state after a rollback, on the same local port', async () => {
      await serve(8123, '127.0.0.1');
      await listening(8123);
      const { localPort } = await forward(8123, undefined, 0);
      assert.equal(await httpGet(localPort, '/'), 'first');
      const { checkpoint } = await connection.request('checkpoint/create', { sandbox });
      assert.equal(await httpGet(localPort, '/set?second'), 'second');
      assert.equal(await httpGet(localPort, '/'), 'second');
      await connection.request('checkpoint/rollback', { sandbox, checkpoint: checkpoint.id });
      assert.equal(await httpGet(localPort, '/'), 'first');
      await connection.request('checkpoint/undo', { sandbox });
      assert.equal(await httpGet(localPort, '/'), 'second');
    });

    it('of four forks are reached apart', async () => {
      await serve(8123, '::');
      await listening(8123);
      const { checkpoint } = await connection.request('checkpoint/create', { sandbox });
      const forks = await Promise.all(
        [1, 2, 3, 4].map(() => connection.request('branch/fork', { sandbox, checkpoint: checkpoint.id })),
      );
      const open = await Promise.all(forks.map(({ branch }) => forward(8123, branch)));
      assert.equal(new Set(open.map((f) => f.localPort)).size, 4);
      for (const [i, { localPort }] of open.entries()) await httpGet(localPort, `/set?fork${i}`);
      const said = await Promise.all(open.map(({ localPort }) => httpGet(localPort, '/')));
      assert.deepEqual(said, ['fork0', 'fork1', 'fork2', 'fork3']);
      const head = await forward(8123);
      assert.equal(await httpGet(head.localPort, '/'), 'first');
    });

    it('stay reachable across checkpoints; an open connection is cut, not left hanging', async () => {
      await serve(8123);
      await listening(8123);
      const { localPort } = await forward(8123);
      const idle = await opened(localPort);
      await sleep(100);
      const cut = new Promise<void>((resolve) => idle.once('close', () => resolve()));
      for (let i = 0; i < 5; i++) {
        await run('true');
        assert.equal(await httpGet(localPort, '/'), 'first');
      }
      await cut;
    });

    it('may hold a connection that the program has not accepted', async () => {
      await run(
        `python3 -c "
import socket, time
s = socket.socket(); s.bind(('127.0.0.1', 8124)); s.listen(5)
time.sleep(2); c = s.accept()[0]; c.sendall(b'late'); c.close(); time.sleep(1000)" >/dev/null 2>&1 &`,
        { checkpoint: false },
      );
      await listening(8124);
      const { localPort } = await forward(8124);
      await opened(localPort);
      await sleep(100);
      const { checkpoint } = await connection.request('checkpoint/create', { sandbox });
      await connection.request('checkpoint/rollback', { sandbox, checkpoint: checkpoint.id, discard: true });
      const again = await opened(localPort);
      const said = await new Promise<string>((resolve) => again.once('data', (data) => resolve(data.toString())));
      assert.equal(said, 'late');
    });

    it('carry much, and a client that leaves early takes its connection with it', async () => {
      await serve(8123);
      await listening(8123);
      const { localPort } = await forward(8123);
      assert.equal((await httpGet(localPort, '/big')).length, 5_000_000);
      const hasty = await opened(localPort);
      hasty.write('GET /big HTTP/1.0\r\n\r\n');
      await new Promise((resolve) => hasty.once('data', resolve));
      hasty.destroy();
      for (let i = 0; ; i++, await sleep(20)) {
        const { sessions } = await connection.request('session/list', { sandbox });
        if (!sessions.some((s) => s.kind === 'dial')) break;
        assert.ok(i < 100, 'the connection inside is still there after 2 s');
      }
    });

    it('where nothing listens refuse at once; a taken local port is told', async () => {
      const refused: Error[] = [];
      const forwarded = await forward(9, undefined, 0);
      forwarded.onRefused = (error) => refused.push(error);
      await assert.rejects(httpGet(forwarded.localPort, '/'), /ECONNRESET|hang up/);
      assert.ok(refused[0] instanceof TeleportError && refused[0].code === 'nothingListens', String(refused[0]));
      const other = createServer().listen(0, '127.0.0.1');
      await new Promise((resolve) => other.once('listening', resolve));
      const { port } = other.address() as { port: number };
      await assert.rejects(forward(9, undefined, port), (e: TeleportError) => e.code === 'portTaken');
      // Without asking for that one, another is taken.
      assert.notEqual((await forward(port)).localPort, port);
      other.close();
    });

    it('are listed and forwarded by the command line, until a signal', async () => {
      await serve(8123);
      await listening(8123);
      const env = { TELEPORT_ENV_SOCKET: helper.socket };
      const listed = json(await cli(null, ['ports', sandbox, '--json'], { env }));
      assert.deepEqual(
        listed.ports.map((p: { port: number }) => p.port),
        [8123],
      );
      const taken = await forward(8123, undefined, 0);
      const local = taken.localPort;
      taken.close();
      let page = '';
      const ran = await cli(null, ['forward', sandbox, '8123', '--local', String(local), '--json'], {
        env,
        signals: (send) =>
          void (async () => {
            for (let i = 0; i < 100 && !page; i++, await sleep(30)) page = await httpGet(local, '/').catch(() => '');
            send('SIGINT');
          })(),
      });
      assert.equal(ran.code, 0);
      assert.equal(json(ran).local, local);
      assert.equal(page, 'first');
      await assert.rejects(httpGet(local, '/'), /ECONNREFUSED/);
      assert.equal((await cli(null, ['forward', sandbox, '99999'], { env })).code, 1);
      assert.equal((await cli(null, ['forward', sandbox, '80', '--branch', 'b99'], { env })).code, 1);
      const shown = await cli(null, ['network', sandbox], { env });
      assert.match(shown.stdout, /has no network/);
      assert.equal((await cli(null, ['network', sandbox, 'wifi'], { env })).code, 1);
      assert.equal((await cli(null, ['network', sandbox, 'none', '--lan'], { env })).code, 1);
    });

    it('asked for twice are the same, until closed', async () => {
      const all = new PortForwards();
      const one = await all.open(connection, { sandbox, port: 8123 });
      assert.equal(await all.open(connection, { sandbox, port: 8123 }), one);
      assert.equal((await all.list()).length, 1);
      await all.close({ sandbox, port: 8123 });
      assert.equal((await all.list()).length, 0);
      await assert.rejects(opened(one.localPort), /ECONNREFUSED/);
    });
  });
});

function opened(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => resolve(socket));
    socket.on('error', reject);
  });
}

function cpuMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10;
}
