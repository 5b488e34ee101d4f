/**
 * What the host does for sandboxes with a network: routes and masquerades for them, and keeps them from the host and its
 * local networks. All rules stand in one nftables table of our own and go by our interfaces' names, so they are the same
 * whatever sandboxes there are.
 *
 * In nftables a packet passes when no table drops it. Our refusals therefore hold beside any other rules; but where another
 * table drops what is forwarded (Docker and ufw do), ours can't let it through: an accept for our interfaces goes to the
 * top of that chain. A userspace network (pasta) would need none of this, but runs a process for each branch, costs tens of
 * milliseconds to attach, and as Debian 12 has it joins a namespace of root's only as root.
 */
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { TeleportError } from '../protocol/errors.ts';

const TABLE = 'teleport_env';
const COMMENT = 'teleport-env';
/** Not of the public internet: RFC 6890, and what is no single host. */
const PRIVATE = [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.168.0.0/16',
  '198.18.0.0/15',
  '224.0.0.0/3',
];
/** Where sandboxes may have their addresses: the first that the host has no route to. */
const POOLS = ['10.213.0.0', '172.29.0.0', '10.71.0.0', '10.187.0.0', '198.18.0.0', '198.19.0.0'];

/** Whether a/bits and b/bits have an address in common. */
export function overlaps(a: number, aBits: number, b: number, bBits: number): boolean {
  const bits = Math.min(aBits, bBits);
  return bits === 0 || a >>> (32 - bits) === b >>> (32 - bits);
}

function toNumber(text: string): number {
  return text.split('.').reduce((n, part) => ((n << 8) | Number(part)) >>> 0, 0);
}

/** The first two bytes of the /16 for sandboxes' addresses. @param routes as in /proc/net/route */
export function addressPool(routes = readFileSync('/proc/thread-self/net/route', 'utf8')): Buffer {
  const taken = routes
    .split('\n')
    .slice(1)
    .map((line) => line.split('\t'))
    .filter(([device, destination]) => device && destination && !device.startsWith('tpenv'))
    .map(([, destination, , , , , , mask]) => ({
      // Printed as the machine has them: little endian.
      network: Buffer.from(destination!, 'hex').readUInt32LE(),
      bits: countBits(Number.parseInt(mask!, 16)),
    }))
    .filter(({ bits }) => bits > 0);
  const free = POOLS.find((pool) => !taken.some(({ network, bits }) => overlaps(toNumber(pool), 16, network, bits)));
  return Buffer.from((free ?? POOLS[0]!).split('.').map(Number)).subarray(0, 2);
}

function countBits(n: number): number {
  let count = 0;
  for (let left = n >>> 0; left; left = (left & (left - 1)) >>> 0) count++;
  return count;
}

/** Networks that the host is a member of, which may be public ones. */
function ownNetworks(): string[] {
  const own: string[] = [];
  for (const list of Object.values(networkInterfaces()))
    for (const { family, cidr, internal } of list ?? [])
      if (family === 'IPv4' && cidr && !internal && !cidr.endsWith('/0')) own.push(cidr);
  return own;
}

export function rules(closed: string[]): string {
  return `
add table inet ${TABLE}
delete table inet ${TABLE}
table inet ${TABLE} {
  set closed {
    type ipv4_addr
    flags interval
    auto-merge
    elements = { ${closed.join(', ')} }
  }
  chain prerouting {
    type filter hook prerouting priority raw; policy accept;
    iifname "tpenv*" fib saddr . iif oif missing drop
  }
  chain input {
    type filter hook input priority filter - 5; policy accept;
    iifname "tpenvr*" reject with icmpx admin-prohibited
  }
  chain forward {
    type filter hook forward priority filter - 5; policy accept;
    oifname "tpenv*" ct state established,related accept
    oifname "tpenv*" drop
    iifname "tpenvr*" ip daddr @closed reject with icmpx admin-prohibited
  }
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    iifname "tpenv*" masquerade
  }
}
`;
}

interface Chain {
  family: string;
  table: string;
  name: string;
  type?: string;
  hook?: string;
  policy?: string;
}

export class Firewall {
  private readonly log: (text: string) => void;
  private loaded = '';

  constructor(log: (text: string) => void) {
    this.log = log;
  }

  /** @throws TeleportError `noNetwork` */
  async prepare(): Promise<void> {
    const text = rules([...PRIVATE, ...ownNetworks()]);
    if (text !== this.loaded || !(await this.there())) {
      await nft(['-f', '-'], text);
      this.loaded = text;
    }
    const forward = '/proc/sys/net/ipv4/ip_forward';
    if (readFileSync(forward, 'utf8').trim() !== '1') writeFileSync(forward, '1');
    await this.passOthers();
  }

  private there(): Promise<boolean> {
    return nft(['list', 'chain', 'inet', TABLE, 'forward']).then(
      () => true,
      () => false,
    );
  }

  /** Accepts for our interfaces in chains of others that would drop what is forwarded. */
  private async passOthers(): Promise<void> {
    const listed = JSON.parse(await nft(['-j', 'list', 'chains'])) as { nftables: { chain?: Chain }[] };
    for (const { chain } of listed.nftables) {
      if (chain?.hook !== 'forward' || chain.type !== 'filter' || chain.table === TABLE) continue;
      if (chain.policy !== 'drop' && chain.table !== 'firewalld') continue;
      const place = [chain.family, chain.table, chain.name];
      if ((await nft(['list', 'chain', ...place])).includes(`"${COMMENT}"`)) continue;
      const insert = ['insert', 'rule', ...place];
      const tail = ['accept', 'comment', `"${COMMENT}"`];
      try {
        await nft([...insert, 'oifname', '"tpenv*"', 'ct', 'state', 'established,related', ...tail]);
        await nft([...insert, 'iifname', '"tpenv*"', ...tail]);
      } catch (error) {
        this.log(
          `sandboxes may reach nothing: ${place.join(' ')} drops what is forwarded: ${(error as Error).message}`,
        );
      }
    }
  }
}

function nft(args: string[], input?: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const env = { PATH: '/usr/sbin:/sbin:/usr/bin:/bin' };
    const child = execFile('nft', args, { env, timeout: 10_000, maxBuffer: 16 << 20 }, (error, stdout, stderr) => {
      if (!error) return resolve(stdout);
      const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
      const text = missing ? 'nftables is not installed' : `nft: ${stderr.trim() || error.message}`;
      reject(
        new TeleportError('noNetwork', text, {
          hint: missing ? 'install the package nftables, or use network none' : undefined,
          cause: error,
        }),
      );
    });
    child.stdin?.on('error', () => undefined); // told by its exit
    child.stdin?.end(input ?? '');
  });
}
