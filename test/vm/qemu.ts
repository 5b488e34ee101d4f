/** One virtual machine of the tests: a folder with its disk, its seed and how to reach it. */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { MARK } from '../vscode/server.ts';

const { TELEPORT_ENV_VM_ARCH, TELEPORT_ENV_VM_SUITE, TELEPORT_ENV_VM_IMAGE } = process.env;
/** `arm64`: the guest is one for the other processor (`scripts/setup-vm.sh` says how it is built). */
const ARCH = TELEPORT_ENV_VM_ARCH === 'arm64' ? 'arm64' : 'amd64';
/** Of another release where one is named. */
const BUILT = ['vm', ARCH === 'arm64' && ARCH, TELEPORT_ENV_VM_SUITE].filter(Boolean).join('-');
export const IMAGE = TELEPORT_ENV_VM_IMAGE ?? resolve(__dirname, '../../build', BUILT);
const HARDWARE = {
  amd64: {
    program: 'qemu-system-x86_64',
    /**
     * Without vectors of 256 bits: C library and checksums would use them, and emulated they are three times slower than what
     * is used otherwise (SHA-256 of 50 MB: 5.6 s with, 1.5 s without). `svm` and `la57` only cost.
     */
    machine: ['-machine', 'q35', '-cpu', 'max,-svm,-la57,-avx,-avx2'],
    console: 'ttyS0',
  },
  // Signing pointers as the hardware does would be most of what is emulated.
  arm64: {
    program: 'qemu-system-aarch64',
    machine: ['-machine', 'virt', '-cpu', 'max,pauth-impdef=on,sve=off'],
    console: 'ttyAMA0',
  },
}[ARCH];
/** Where `savevm` puts a suspended machine's memory. */
const SNAPSHOT = 'suspended';

export type Stage = 'Running' | 'Stopped' | 'Suspended' | 'Deleted';
export interface Record {
  readonly name: string;
  readonly state: Stage;
  /** Of the loopback network, so that port 22 is free. Another one at each start, as on a laptop's changing networks. */
  readonly address: string;
  readonly cpus: number;
  readonly memory: string;
  /** Where its kernel and its disk's base are: a newer image must not come under a machine that exists. */
  readonly image: string;
}

export class Guest {
  readonly #dir: string;

  constructor(
    readonly home: string,
    readonly name: string,
  ) {
    this.#dir = join(home, 'machines', name);
  }

  static all(home: string): Guest[] {
    const dir = join(home, 'machines');
    return existsSync(dir) ? readdirSync(dir).map((name) => new Guest(home, name)) : [];
  }

  get record(): Record | null {
    const file = join(this.#dir, 'record.json');
    if (!existsSync(file)) return null;
    const record: Record = JSON.parse(readFileSync(file, 'utf8'));
    return record.state === 'Running' && this.#pid() === null ? { ...record, state: 'Stopped' } : record;
  }

  /** Disk and seed, not started. */
  create(seed: { userData: string; vendorData: string }, size: { cpus: number; memory: string; disk: string }): void {
    const seedDir = join(this.#dir, 'seed');
    mkdirSync(seedDir, { recursive: true });
    const files = {
      'meta-data': `instance-id: ${this.name}\nlocal-hostname: ${this.name}\n`,
      'user-data': seed.userData,
      'vendor-data': seed.vendorData,
    };
    for (const [name, text] of Object.entries(files)) writeFileSync(join(seedDir, name), text);
    run('genisoimage', ['-quiet', '-V', 'cidata', '-r', '-J', '-o', join(this.#dir, 'seed.iso'), seedDir]);
    const image = realpathSync(IMAGE);
    const base = join(image, 'disk.raw');
    run('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', base, '-F', 'raw', join(this.#dir, 'disk.qcow2'), '12G']);
    this.#write({ name: this.name, state: 'Stopped', address: '', cpus: size.cpus, memory: size.memory, image });
  }

  /** Powers on; from the saved memory where it was suspended. */
  boot(): void {
    const record = this.record!;
    const image = record.image ?? IMAGE;
    const address = freeAddress(this.home, record.address);
    const file = (name: string) => join(this.#dir, name);
    // That of the guest's release, where this machine's is too old for its kernel.
    const own = join(image, 'qemu');
    const program = existsSync(own) ? own : HARDWARE.program;
    const drive = (path: string, more: string) => `file=${path},if=virtio,${more}`;
    run('nice', [
      ...['-n', '10', program, '-name', this.name, '-display', 'none', '-daemonize', '-no-reboot'],
      ...[...HARDWARE.machine, '-accel', 'tcg,thread=multi'],
      ...['-smp', String(Math.min(record.cpus, 2)), '-m', record.memory],
      ...['-kernel', join(image, 'kernel'), '-initrd', join(image, 'initrd')],
      ...['-append', `root=/dev/vda rw console=${HARDWARE.console} quiet net.ifnames=0 mitigations=off`],
      ...['-drive', drive(file('disk.qcow2'), 'format=qcow2,cache=unsafe')],
      ...['-drive', drive(file('seed.iso'), 'format=raw,readonly=on')],
      ...['-netdev', `user,id=n0,hostfwd=tcp:${address}:22-:22`, '-device', 'virtio-net-pci,netdev=n0'],
      ...['-device', 'virtio-rng-pci', '-serial', `file:${file('console.log')}`],
      ...['-pidfile', file('pid'), '-monitor', `unix:${file('monitor')},server,nowait`],
      ...(record.state === 'Suspended' ? ['-loadvm', SNAPSHOT] : []),
    ]);
    this.#write({ ...record, state: 'Running', address });
  }

  /** Powers off, in order where it listens. */
  async halt(): Promise<void> {
    spawnSync('ssh', [...this.ssh(), 'sudo systemctl poweroff'], { timeout: 60_000, stdio: 'ignore' });
    await this.#ended(180_000);
    this.#write({ ...this.record!, state: 'Stopped' });
  }

  /** Memory and all to the disk, then off. */
  async suspend(): Promise<void> {
    await monitor(join(this.#dir, 'monitor'), `savevm ${SNAPSHOT}`);
    await monitor(join(this.#dir, 'monitor'), 'quit').catch(() => {});
    await this.#ended(20_000);
    this.#write({ ...this.record!, state: 'Suspended' });
  }

  async destroy(): Promise<void> {
    await this.#ended(0);
    rmSync(this.#dir, { recursive: true, force: true });
  }

  /** Arguments of ssh up to the command. One connection is kept for all: a handshake takes emulated seconds. */
  ssh(): string[] {
    const { address } = this.record!;
    const options = [
      'BatchMode=yes',
      'StrictHostKeyChecking=no',
      'UserKnownHostsFile=/dev/null',
      'LogLevel=ERROR',
      'ConnectTimeout=20',
      'ControlMaster=auto',
      `ControlPath=${join(this.home, '%C')}`,
      'ControlPersist=600',
    ];
    return ['-i', keyOf(this.home), ...options.flatMap((option) => ['-o', option]), `ubuntu@${address}`];
  }

  answers(): boolean {
    return spawnSync('ssh', [...this.ssh(), 'true'], { timeout: 30_000, stdio: 'ignore' }).status === 0;
  }

  #pid(): number | null {
    try {
      const pid = Number(readFileSync(join(this.#dir, 'pid'), 'utf8'));
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(this.#dir) ? pid : null;
    } catch {
      return null;
    }
  }

  /** Waits for QEMU's end, then makes one. */
  async #ended(patienceMs: number): Promise<void> {
    const { address } = this.record ?? { address: '' };
    if (address) spawnSync('ssh', ['-O', 'exit', ...this.ssh()], { stdio: 'ignore' });
    for (const until = Date.now() + patienceMs; this.#pid() !== null && Date.now() < until; ) await sleep(100);
    const pid = this.#pid();
    if (pid !== null) process.kill(pid, 'SIGKILL');
    while (this.#pid() !== null) await sleep(20);
  }

  #write(record: Record): void {
    writeFileSync(join(this.#dir, 'record.json'), JSON.stringify(record));
  }
}

/** The stand-in's own key, as multipass has one; not the extension's. */
export function keyOf(home: string): string {
  const file = join(home, 'id');
  if (!existsSync(file)) run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'multipass', '-f', file]);
  return file;
}

function freeAddress(home: string, before: string): string {
  const taken = new Set([before, ...Guest.all(home).map((guest) => guest.record?.address)]);
  // Different for each folder of machines, so that two test runs at the same time don't meet.
  const net = 64 + (readFileSync(`${keyOf(home)}.pub`).at(60)! % 128);
  for (let host = 2; ; host++) if (!taken.has(`127.${net}.7.${host}`)) return `127.${net}.7.${host}`;
}

function run(command: string, args: string[]): void {
  // A machine is its daemon's: it does not go with the editor whose window asked for it.
  const { [MARK]: _, ...env } = process.env;
  execFileSync(command, args, { env, stdio: ['ignore', 'ignore', 'inherit'] });
}

/** One command to QEMU's monitor; comes back with its next prompt. */
function monitor(path: string, line: string): Promise<void> {
  return new Promise((done, fail) => {
    const socket = connect(path);
    let seen = '';
    let sent = false;
    socket.on('error', fail).on('close', () => fail(new Error(`QEMU's monitor went during ${line}`)));
    socket.on('data', (data) => {
      seen += data;
      if (!seen.trimEnd().endsWith('(qemu)')) return;
      seen = '';
      if (sent) {
        done();
        socket.destroy();
      } else socket.write(`${line}\n`);
      sent = true;
    });
  });
}

/** A process with our own streams, and its exit code. */
export function passThrough(command: string, args: string[]): Promise<number> {
  return new Promise((done) => {
    const child = spawn(command, args, { stdio: 'inherit' });
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => child.kill(signal));
    child.on('exit', (code, signal) => done(code ?? (signal ? 130 : 1)));
  });
}
