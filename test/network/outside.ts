/**
 * An internet of network namespaces: a host (where the helper runs), its local network and a server far away. The calling thread
 * moves into the host, so that what it starts is there; `end` brings it back and leaves nothing.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { check, libc } from '../../helper/engine/libc.ts';

const CLONE_NEWNET = 0x40000000;

/** Far away (TEST-NET-3) and next door. */
export const SERVER = '203.0.113.10';
export const NEIGHBOUR = '192.168.77.1';
export const HOST = '198.51.100.2';
export const STREAM_PORT = 9000;
/** What connects there is answered by nothing. */
export const SLOW_PORT = 9001;
/** What connects there may send as much as it likes: nothing is ever read. */
export const FULL_PORT = 9002;

/** How a connection ended, as the far end saw it. */
export interface Ended {
  port: number;
  /** `reset` by the other side, `closed` in order, `lost`: packets met nobody until patience was over. */
  how: string;
  /** Milliseconds since the epoch. */
  at: number;
}

/** A name server, a stream of numbers, a web page. Argument: the address to answer names at. */
const SERVICES = `
import errno, http.server, select, socket, socketserver, struct, sys, threading, time
telling = threading.Lock()
def tell(port, how):
    with telling: print('ended %d %s %f' % (port, how, time.time() * 1000), flush=True) # else two threads' lines mingle
def why(e):
    return 'reset' if isinstance(e, (ConnectionResetError, BrokenPipeError)) else 'lost'
class Stream(socketserver.BaseRequestHandler):
    def handle(self):
        n = 0
        try:
            while True:
                n += 1
                self.request.sendall(b'%d\\n' % n)
                time.sleep(0.01)
        except OSError as e: tell(${STREAM_PORT}, why(e))
def await_end(request, port):
    ends = select.poll(); ends.register(request, 0)
    ends.poll()
    error = request.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    tell(port, 'reset' if error in (0, errno.ECONNRESET, errno.EPIPE) else 'lost')
class Slow(socketserver.BaseRequestHandler):
    def handle(self):
        try:
            while self.request.recv(100): pass
            await_end(self.request, ${SLOW_PORT})
        except OSError as e: tell(${SLOW_PORT}, why(e))
class Full(socketserver.BaseRequestHandler):
    def handle(self): await_end(self.request, ${FULL_PORT})
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b'hello from ' + self.server.server_address[0].encode())
    def log_message(self, *a): pass
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True; daemon_threads = True
def names_udp(address):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind((address, 53))
    while True:
        q, who = s.recvfrom(1500); s.sendto(answer(q), who)
def answer(q):
    end = 12
    while q[end]: end += q[end] + 1
    question = q[12:end + 5]
    wanted = struct.unpack('>H', q[end + 1:end + 3])[0]
    found = 1 if wanted == 1 else 0
    head = q[:2] + struct.pack('>HHHHH', 0x8180, 1, found, 0, 0)
    return head + question + (b'\\xc0\\x0c' + struct.pack('>HHIH', 1, 1, 5, 4) + socket.inet_aton('${SERVER}') if found else b'')
class NamesTcp(socketserver.BaseRequestHandler):
    def handle(self):
        n = struct.unpack('>H', self.request.recv(2))[0]; a = answer(self.request.recv(n))
        self.request.sendall(struct.pack('>H', len(a)) + a)
jobs = []
for what in sys.argv[1:]:
    kind, address = what.split('=')
    if kind == 'names':
        jobs += [lambda a=address: names_udp(a), Server((address, 53), NamesTcp).serve_forever]
    if kind == 'stream': jobs += [Server((address, ${STREAM_PORT}), Stream).serve_forever, Server((address, ${SLOW_PORT}), Slow).serve_forever,
                             Server((address, ${FULL_PORT}), Full).serve_forever]
    if kind == 'page': jobs += [Server((address, 80), Page).serve_forever]
threads = [threading.Thread(target=j) for j in jobs]
for t in threads: t.start()
print('ready', flush=True)
`;

export class Outside {
  private readonly tag = `tpt${process.pid}`;
  private readonly home: number;
  private readonly children: ChildProcess[] = [];
  /** Connections to the stream and the slow port that ended. */
  readonly ended: Ended[] = [];
  private readonly script = join(tmpdir(), `teleport-services-${process.pid}.py`);

  private constructor() {
    this.home = openSync('/proc/thread-self/ns/net', 'r');
  }

  static async make(): Promise<Outside> {
    const outside = new Outside();
    try {
      await outside.build();
    } catch (error) {
      outside.end();
      throw error;
    }
    return outside;
  }

  get hostNamespace(): string {
    return `${this.tag}h`;
  }

  private async build(): Promise<void> {
    const [host, net, lan] = [`${this.tag}h`, `${this.tag}n`, `${this.tag}l`];
    for (const one of [host, net, lan]) {
      ip('netns', 'add', one);
      ip('-n', one, 'link', 'set', 'lo', 'up');
    }
    const wire = (other: string, device: string, here: string, there: string): void => {
      ip('link', 'add', device, 'netns', host, 'type', 'veth', 'peer', 'name', 'up0', 'netns', other);
      ip('-n', host, 'addr', 'add', here, 'dev', device);
      ip('-n', other, 'addr', 'add', there, 'dev', 'up0');
      ip('-n', host, 'link', 'set', device, 'up');
      ip('-n', other, 'link', 'set', 'up0', 'up');
    };
    wire(net, 'wan0', `${HOST}/24`, '198.51.100.1/24');
    wire(lan, 'lan0', '192.168.77.2/24', `${NEIGHBOUR}/24`);
    ip('-n', net, 'addr', 'add', `${SERVER}/32`, 'dev', 'up0');
    ip('-n', host, 'route', 'add', 'default', 'via', '198.51.100.1');
    writeFileSync(this.script, SERVICES);
    // The helper asks whom this machine's resolv.conf names: that address is played by ours.
    const resolver = /^nameserver\s+([0-9.]+)/m.exec(readFileSync('/etc/resolv.conf', 'utf8'))?.[1] ?? '127.0.0.1';
    const local = resolver.startsWith('127.');
    if (!local) ip('-n', net, 'addr', 'add', `${resolver}/32`, 'dev', 'up0');
    if (!local) ip('-n', host, 'route', 'replace', resolver, 'via', '198.51.100.1');
    const far = [`stream=${SERVER}`, `page=${SERVER}`, ...(local ? [] : [`names=${resolver}`])];
    await this.serve(net, far);
    await this.serve(lan, [`page=${NEIGHBOUR}`]);
    await this.serve(host, ['page=0.0.0.0', ...(local ? [`names=${resolver}`] : [])]);
    this.move(openSync(`/run/netns/${host}`, 'r'));
  }

  private async serve(namespace: string, what: string[]): Promise<void> {
    const child = spawn('ip', ['netns', 'exec', namespace, 'python3', this.script, ...what], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.children.push(child);
    await new Promise<void>((resolve, reject) => {
      createInterface(child.stdout!).on('line', (line) => {
        if (line === 'ready') resolve();
        const [, port, how, at] = /^ended (\d+) (\w+) ([\d.]+)$/.exec(line) ?? [];
        if (port) this.ended.push({ port: Number(port), how: how!, at: Number(at) });
        else if (line !== 'ready') throw new Error(`the services of ${namespace} said: ${line}`);
      });
      child.once('exit', () => reject(new Error(`the services of ${namespace} did not start`)));
    });
  }

  private move(fd: number): void {
    check(libc().setns(fd, CLONE_NEWNET), 'setns');
    if (fd !== this.home) closeSync(fd);
  }

  /** `nft` on the host. */
  nft(text: string): string {
    return execFileSync('nft', ['-f', '-'], { input: text, encoding: 'utf8' });
  }

  end(): void {
    this.move(this.home);
    for (const child of this.children) child.kill('SIGKILL');
    for (const one of ['h', 'n', 'l']) {
      try {
        ip('netns', 'del', `${this.tag}${one}`);
      } catch {
        // it was not made
      }
    }
    rmSync(this.script, { force: true });
    closeSync(this.home);
  }
}

function ip(...args: string[]): string {
  return execFileSync('ip', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}
