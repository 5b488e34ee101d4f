/** What is kept between windows, in a folder of the extension's own: key, known hosts, and what was found out. */
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod';

const Kept = z.object({
  /** Names of machines that we asked multipass to make: those are ours, even where a launch did not finish. */
  launched: z.array(z.string()).default([]),
  /** By machine: how it was reached last. */
  transports: z.record(z.string(), z.enum(['exec', 'ssh'])).default({}),
  /** By folder of this host: its name below /workspaces. */
  folders: z.record(z.string(), z.string()).default({}),
});
export type Kept = z.infer<typeof Kept>;

export class Storage {
  constructor(readonly dir: string) {}

  get keyFile(): string {
    return join(this.dir, 'id_ed25519');
  }

  get knownHosts(): string {
    return join(this.dir, 'known_hosts');
  }

  read(): Kept {
    try {
      return Kept.parse(JSON.parse(readFileSync(join(this.dir, 'machines.json'), 'utf8')));
    } catch {
      // Lost or damaged: everything in it can be found out again.
      return Kept.parse({});
    }
  }

  change(how: (kept: Kept) => Kept): void {
    this.#write('machines.json', `${JSON.stringify(how(this.read()), null, 2)}\n`, 0o644);
  }

  /** The public half of our own key, as a line of authorized_keys. Made when there is none. */
  publicKey(): string {
    if (!existsSync(this.keyFile) || !existsSync(`${this.keyFile}.pub`)) {
      const { publicLine, privateFile } = newKey('teleport-env');
      this.#write('id_ed25519', privateFile, 0o600);
      this.#write('id_ed25519.pub', `${publicLine}\n`, 0o644);
    }
    return readFileSync(`${this.keyFile}.pub`, 'utf8').trim();
  }

  /** A machine that is made anew has another host key. */
  forgetHost(): void {
    rmSync(this.knownHosts, { force: true });
  }

  #write(name: string, text: string, mode: number): void {
    mkdirSync(this.dir, { recursive: true, mode: 0o700 });
    const beside = join(this.dir, `${name}.${randomBytes(4).toString('hex')}`);
    writeFileSync(beside, text, { mode });
    renameSync(beside, join(this.dir, name));
  }
}

/** An Ed25519 key in OpenSSH's own format: older ssh programs read no other for this kind, and ssh-keygen may be missing. */
export function newKey(comment: string): { publicLine: string; privateFile: string } {
  const { privateKey } = generateKeyPairSync('ed25519');
  const { x, d } = privateKey.export({ format: 'jwk' });
  const publicBytes = Buffer.from(x!, 'base64url');
  const secret = Buffer.concat([Buffer.from(d!, 'base64url'), publicBytes]);
  const blob = Buffer.concat([field('ssh-ed25519'), field(publicBytes)]);
  const check = randomBytes(4);
  let inner = Buffer.concat([check, check, blob, field(secret), field(comment)]);
  // Filled with 1, 2, 3… up to the cipher's block of 8.
  const padding = (8 - (inner.length % 8)) % 8;
  inner = Buffer.concat([inner, Buffer.from(Array.from({ length: padding }, (_, i) => i + 1))]);
  const one = Buffer.from([0, 0, 0, 1]);
  const whole = Buffer.concat([
    Buffer.from('openssh-key-v1\0'),
    ...[field('none'), field('none'), field(''), one, field(blob), field(inner)],
  ]);
  const lines = whole
    .toString('base64')
    .match(/.{1,70}/g)!
    .join('\n');
  return {
    publicLine: `ssh-ed25519 ${blob.toString('base64')} ${comment}`,
    privateFile: `-----BEGIN OPENSSH PRIVATE KEY-----\n${lines}\n-----END OPENSSH PRIVATE KEY-----\n`,
  };
}

/** As ssh writes strings: length, then bytes. */
function field(value: string | Buffer): Buffer {
  const bytes = Buffer.from(value as string);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}
