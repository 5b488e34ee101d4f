/** The daemon: finds what it needs of the machine, opens the volume, takes up what an earlier one left, listens. */
import { execFile } from 'node:child_process';
import { existsSync, readFileSync, statSync, unlinkSync } from 'node:fs';
import { release } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Cgroup, findCgroup2, groupName } from '../engine/cgroup.ts';
import { type CheckResult, check } from '../engine/criu-check.ts';
import { doctor } from '../engine/doctor.ts';
import { Layout } from '../engine/layout.ts';
import { Limiter } from '../engine/limits.ts';
import type { Machine } from '../engine/machine.ts';
import { keepReserve } from '../engine/reserve.ts';
import { openRun, openVolume, sharesData } from '../engine/volume.ts';
import { TeleportError } from '../protocol/errors.ts';
import type { Need } from '../protocol/model.ts';
import { admitted, ROOT_INSIDE } from './owner.ts';
import { listen, prepareSocket } from './server.ts';
import { Service } from './service.ts';
import { takeStateFolder } from './state-folder.ts';

declare const TELEPORT_ENV_VERSION: string | undefined;

const STATE = '/var/lib/teleport-env';

export interface ServeOptions {
  socket: string;
  /** Default: /var/lib/teleport-env. */
  state?: string;
  /** Bytes of a volume made anew. */
  volumeBytes?: number;
  /** Who may connect besides root, one uid a line. */
  admitted?: string;
  /** The file with the uids that may have sandboxes whose programs run as root. */
  rootInside?: string;
}

/** Serves until SIGTERM, SIGINT or a `shutdown` request, then resolves; sandboxes stay alive. */
export async function serve(options: ServeOptions): Promise<void> {
  if (process.geteuid?.() !== 0)
    throw new TeleportError('notRoot', 'the helper must run as root', { hint: 'sudo teleport-env serve' });
  process.umask(0o022);
  const log = (text: string): void => void process.stderr.write(`${new Date().toISOString()} ${text}\n`);
  const state = options.state ?? STATE;
  const cgroupMount = findCgroup2();
  if (!cgroupMount)
    throw new TeleportError('noCgroup', 'no cgroup v2 is mounted', {
      hint: 'mount -t cgroup2 none /sys/fs/cgroup/unified',
    });
  const programs = findPrograms();
  prepareSocket(options.socket);
  await takeStateFolder(state, options.socket);
  const run = await openRun(dirname(options.socket));
  const found = await check({
    binary: programs.criu,
    prefix: [programs.init, 'enter', '--net', 'host', '--run', run, '--'],
  });
  if (!found.ok) throw unfit(found);
  const volume = await openVolume(state, options.volumeBytes);
  keepReserve(join(volume.path, 'reserve'));
  const cgroups = Cgroup.make(join(cgroupMount, groupName(state, STATE))).path;
  Cgroup.make(join(cgroups, 'helper'));
  const machine: Machine = {
    layout: new Layout(state, run),
    ...programs,
    criuVersion: found.version.join('.'),
    kernel: release(),
    bootId: readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(),
    cgroups,
    limiter: new Limiter(cgroups),
    readsDirect: volume.kind === 'xfs' || volume.kind === 'ext4',
    // Of ours it is known. To try, in one that is full, could fail for another reason.
    sharesData: volume.kind === 'xfs' || (volume.kind === 'mounted' && sharesData(volume.path)),
  };
  const version = typeof TELEPORT_ENV_VERSION === 'string' ? TELEPORT_ENV_VERSION : 'dev';
  let end = (): void => {};
  const service = new Service({
    version,
    machine,
    doctor: () => doctor({ state, volume, criu: found }),
    shutdown: () => end(),
    mayBeRoot: (uid) => listed(options.rootInside ?? ROOT_INSIDE, uid),
    log,
  });
  await service.load();
  const admits = (uid: number): boolean => listed(options.admitted ?? '/etc/teleport-env/admitted', uid);
  const server = await listen(service, { socket: options.socket, admits, log });
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  process.on('SIGTERM', end);
  process.on('SIGINT', end);
  log(`listening on ${options.socket}, state in ${state}, CRIU ${found.version.join('.')}`);
  await ended;
  if (await machineGoesDown()) {
    log('the machine goes down: saving the sandboxes');
    await service.restAll(SAVE_MS);
  }
  server.close();
  if (existsSync(options.socket)) unlinkSync(options.socket);
  await Promise.race([service.settle(), sleep(5000)]);
  log('ended; sandboxes go on');
}

function listed(file: string, uid: number): boolean {
  return admitted(uid, existsSync(file) ? readFileSync(file, 'utf8') : '');
}

/** Made for every kernel that we run on: older ones fail one way or another on newer kernels. */
const CRIU_FROM = [4, 1];

/** The error for a CRIU that does not work here. */
export function unfit({ version, reason }: Extract<CheckResult, { ok: false }>): TeleportError {
  const hint = 'npm run setup (or scripts/setup-linux.sh) builds one that works';
  const [major = 0, minor = 0] = version ?? CRIU_FROM;
  if (major < CRIU_FROM[0]! || (major === CRIU_FROM[0] && minor < CRIU_FROM[1]!))
    return new TeleportError(
      'criuTooOld',
      `CRIU ${version?.join('.')} is too old for this kernel, ${CRIU_FROM.join('.')} or later is needed: ${reason}`,
      { hint },
    );
  return new TeleportError('noCriu', `CRIU does not work here: ${reason}`, { hint });
}

/** Less than the time that systemd gives a service to end, which is 90 s. */
const SAVE_MS = 60_000;

/** Whether systemd, where there is one, is about to power off or to start anew. Otherwise only the helper ends. */
async function machineGoesDown(): Promise<boolean> {
  if (!existsSync('/run/systemd/system')) return false;
  // Its exit code says no more than its word does, and is no failure.
  return await new Promise((resolve) =>
    execFile('systemctl', ['is-system-running'], { timeout: 10_000 }, (_, said) => resolve(said.trim() === 'stopping')),
  );
}

/** What this machine has and lacks, where no daemon could be started; root learns more than others. */
export async function examine(): Promise<Need[]> {
  let programs: { init: string; criu: string } | null = null;
  try {
    programs = findPrograms();
  } catch {
    // that is what shall be told
  }
  if (!programs) return await doctor({ state: STATE, criu: null });
  if (process.geteuid?.() !== 0) return await doctor({ state: STATE, criu: undefined });
  return await doctor({ state: STATE, criu: await check({ binary: programs.criu }) });
}

/** Beside this program in /opt/teleport-env/VERSION; from a checkout (as root, for tests), what the scripts built. */
function findPrograms(): { init: string; criu: string } {
  const places = [__dirname, join(__dirname, '../build'), join(__dirname, '../../build')];
  const first = (names: string[]): string | undefined =>
    places
      .flatMap((p) => names.map((n) => join(p, n)))
      .find((path) => statSync(path, { throwIfNoEntry: false })?.isFile());
  const init = first(['teleport-init', 'init/teleport-init']);
  const chosen = process.env.TELEPORT_ENV_CRIU;
  const criu = chosen ?? first(['criu', 'criu/criu']);
  if (!init || !criu || !existsSync(criu))
    throw new TeleportError(
      'noCriu',
      `${init ? 'CRIU' : 'teleport-init'} is not ${chosen ? `at ${chosen}` : 'installed'}`,
      {
        hint: 'run npm run setup (or scripts/setup-linux.sh) once',
      },
    );
  return { init, criu };
}
