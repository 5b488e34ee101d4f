/**
 * A stand-in for the `multipass` command over QEMU, for tests: real kernel, real cloud-init, real ssh. It answers the
 * operations that we use with multipass's own words, shapes and exit codes (read from its sources, 1.16). What it does not
 * prove: Multipass itself, other hypervisors and their networks, arm64.
 *
 * Machines live in TELEPORT_ENV_VM_HOME.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { shellLine } from '../../helper/protocol/shell-word.ts';
import { Guest, IMAGE, keyOf, passThrough } from './qemu.ts';

class Failure extends Error {
  constructor(
    readonly exitCode: number,
    message: string,
  ) {
    super(message);
  }
}

const home = process.env.TELEPORT_ENV_VM_HOME ?? '';
const [verb = '', ...rest] = process.argv.slice(2);

const verbs: { [verb: string]: (words: string[]) => Promise<number> | number } = {
  version: () => print(json({ multipass: '1.16.3', multipassd: '1.16.3' })),
  list: () => print(json({ list: Guest.all(home).map((guest) => summary(guest)) })),
  info: (words) => {
    const guest = existing(words[0]);
    return print(json({ errors: [], info: { [guest.name]: { ...summary(guest), ...usage(guest) } } }));
  },
  launch,
  start: async (words) => {
    const guest = existing(words[0]);
    if (guest.record?.state !== 'Running') guest.boot();
    await answering(guest, 300);
    return 0;
  },
  stop: async (words) => {
    await existing(words[0]).halt();
    return 0;
  },
  suspend: async (words) => {
    await existing(words[0]).suspend();
    return 0;
  },
  delete: async (words) => {
    await existing(words.find((word) => !word.startsWith('-'))).destroy();
    return 0;
  },
  exec: async (words) => {
    const dashes = words.indexOf('--');
    const guest = existing(words.slice(0, dashes).find((word) => !word.startsWith('-')));
    if (guest.record?.state !== 'Running') {
      guest.boot();
      await answering(guest, 300);
    }
    const tty = process.stdin.isTTY ? ['-tt'] : [];
    return passThrough('ssh', [...tty, ...guest.ssh(), shellLine(words.slice(dashes + 1))]);
  },
};

async function launch(words: string[]): Promise<number> {
  const option = (name: string, fallback: string) => {
    const at = words.indexOf(name);
    return at < 0 ? fallback : words[at + 1]!;
  };
  const name = option('--name', 'primary');
  if (new Guest(home, name).record) throw new Failure(2, `launch failed: instance "${name}" already exists`);
  const userData = option('--cloud-init', '') === '-' ? readFileSync(0, 'utf8') : '#cloud-config\n';
  const key = readFileSync(`${keyOf(home)}.pub`, 'utf8').trim();
  const guest = new Guest(home, name);
  print(`Creating ${name}\n`);
  guest.create(
    {
      // As multipass does: its own key goes beside those of the document, which would replace the vendor's list.
      userData: userData.replace(/^ssh_authorized_keys:\n/m, `$&  - ${key}\n`),
      vendorData: `#cloud-config\nssh_authorized_keys:\n  - ${key}\n`,
    },
    { cpus: Number(option('--cpus', '1')), memory: option('--memory', '1G'), disk: option('--disk', '5G') },
  );
  print(`Configuring ${name}\n`);
  guest.boot();
  print(`Starting ${name}\n`);
  const deadline = Date.now() + Number(option('--timeout', '300')) * 1000;
  await answering(guest, (deadline - Date.now()) / 1000);
  print('Waiting for initialization to complete\n');
  const finished = [...guest.ssh(), '[ -e /var/lib/cloud/instance/boot-finished ]'];
  while (spawnSync('ssh', finished, { stdio: 'ignore' }).status !== 0) {
    if (Date.now() > deadline)
      throw new Failure(
        2,
        'launch failed: The following errors occurred:\ntimed out waiting for initialization to complete',
      );
    await sleep(1_000);
  }
  return print(`Launched: ${name}\n`);
}

function existing(name: string | undefined): Guest {
  const guest = new Guest(home, name ?? '');
  if (name && guest.record) return guest;
  throw new Failure(2, `${verb} failed: instance "${name}" does not exist`);
}

function summary(guest: Guest) {
  const { name, state, address } = guest.record!;
  return { ipv4: state === 'Running' ? [address] : [], name, release: 'Debian (stand-in)', state };
}

/** As multipass does: asked inside, and empty while it doesn't run. */
function usage(guest: Guest) {
  const record = guest.record!;
  if (record.state !== 'Running')
    return { cpu_count: '', disks: { sda1: {} }, memory: {}, mounts: {}, snapshot_count: '0' };
  const asked = spawnSync('ssh', [...guest.ssh(), 'df -B1 --output=size,used / | tail -1'], { timeout: 20_000 });
  const [total = '0', used = '0'] = asked.stdout.toString().trim().split(/\s+/);
  const memory = { total: Number.parseInt(record.memory, 10) * 1_048_576, used: 0 };
  return { cpu_count: String(record.cpus), disks: { sda1: { total, used } }, memory, mounts: {}, snapshot_count: '0' };
}

async function answering(guest: Guest, seconds: number): Promise<void> {
  for (const until = Date.now() + seconds * 1000; Date.now() < until; await sleep(500)) {
    if (guest.record?.state !== 'Running') throw new Failure(2, `${verb} failed: ${guest.name} ended while it booted`);
    if (guest.answers()) return;
  }
  throw new Failure(5, 'Timed out waiting for instance launch.');
}

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 4)}\n`;
}

function print(text: string): number {
  process.stdout.write(text);
  return 0;
}

async function main(): Promise<number> {
  if (!home) throw new Failure(1, 'TELEPORT_ENV_VM_HOME is not set');
  if (!existsSync(join(IMAGE, 'complete'))) throw new Failure(2, 'no guest is built: run scripts/setup-vm.sh');
  mkdirSync(home, { recursive: true });
  const run = verbs[verb];
  if (!run) throw new Failure(1, `Unknown command or alias '${verb}'.`);
  return await run(rest);
}

main().then(
  (code) => process.exit(code),
  (error) => {
    process.stderr.write(`${error.message}\n`);
    process.exit(error instanceof Failure ? error.exitCode : 2);
  },
);
