/**
 * Finds the daemon or starts one, with no more rights than the user has.
 *
 * What is started as root is root's own copy under /opt/teleport-env, run by a Node that nobody else can write: a
 * program in a user's folder never runs as root.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { closeSync, existsSync, lstatSync, openSync, readdirSync, readFileSync, realpathSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { ErrorData, TeleportError } from '../protocol/errors.ts';
import { Connection } from './connection.ts';
import { DEFAULT_SOCKET, UNIT, type Whereabouts, whereabouts } from './place.ts';

/** A daemon makes its volume at first start. */
const START_TIMEOUT_MS = 30_000;
const POLL_MS = 15;
const SETUP_HINT = 'run npm run setup (or scripts/setup-linux.sh) once';

export interface ConnectOptions {
  /** Who connects, for the daemon's log. */
  client: string;
  env?: NodeJS.ProcessEnv;
  /** Without: only a daemon that runs already. */
  start?: boolean;
}

/**
 * @throws TeleportError `noHelper` (none runs and none is installed), `notRoot` (one could be started, but not by this
 * user), `notAllowed` (it runs but does not admit this user), or what the daemon itself failed with at its start.
 */
export async function connectOrStart({ client, env = process.env, start = true }: ConnectOptions): Promise<Connection> {
  const where = whereabouts(env);
  const running = await tryConnect(where.socket, client);
  if (running) return running;
  if (!start) throw new TeleportError('noHelper', `no helper listens on ${where.socket}`, { hint: SETUP_HINT });
  const started = launch(where);
  return await waitFor(where.socket, client, started);
}

/** Null where nothing listens. */
async function tryConnect(socket: string, client: string): Promise<Connection | null> {
  try {
    return await Connection.open(socket, client);
  } catch (error) {
    const errno = (error as NodeJS.ErrnoException).code;
    if (errno === 'ENOENT' || errno === 'ECONNREFUSED' || errno === 'ENOTDIR') return null;
    if (errno === 'EACCES' || errno === 'EPERM')
      throw new TeleportError('notAllowed', `the helper does not admit you (${socket})`, {
        hint: 'run npm run setup as yourself: it admits you',
        cause: error,
      });
    if (error instanceof TeleportError) throw error;
    throw new TeleportError('noHelper', `cannot connect to ${socket}: ${(error as Error).message}`, { cause: error });
  }
}

interface Started {
  /** Ends when the start has failed, or (for a service manager) was asked for. */
  child: ChildProcess;
  /** Where what it says is kept. */
  log?: string;
  /** Only asks somebody else to start it: its end, when good, says nothing. */
  indirect: boolean;
}

function launch(where: Whereabouts): Started {
  const root = process.getuid?.() === 0;
  if (where.devState !== undefined) {
    if (!root) throw new TeleportError('notRoot', 'a helper from the checkout can only be started by root');
    return detach(...ownProgram(), where.socket, `${where.socket}.log`, ['--state', where.devState]);
  }
  if (where.socket !== DEFAULT_SOCKET)
    throw new TeleportError('noHelper', `no helper listens on ${where.socket}`, {
      hint: 'start one there: teleport-env serve --socket PATH --state DIR',
    });
  if (hasUnit()) return systemctl(root);
  const program = join(where.installed, 'teleport-env.js');
  if (!existsSync(program)) throw new TeleportError('noHelper', 'the helper is not set up here', { hint: SETUP_HINT });
  const node = installedNode(where.installed, root);
  const parts = readdirSync(where.installed).flatMap((name) =>
    name.endsWith('.js') ? join(where.installed, name) : [],
  );
  for (const path of [...parts, ...(root ? [] : [node])])
    for (const real of [path, realpathSync(path)]) refuseUntrusted(real);
  if (root) return detach(node, [program], where.socket, '/var/log/teleport-env.log');
  const child = spawn('sudo', ['-n', '--', node, program, 'serve', '--detach'], { stdio: 'ignore' });
  return { child, indirect: true };
}

/** A private Node that set-up installed, or the one that runs this. */
function installedNode(installed: string, root: boolean): string {
  const own = join(installed, 'node');
  if (existsSync(own)) return own;
  return !root && existsSync('/usr/bin/node') ? '/usr/bin/node' : process.execPath;
}

/**
 * For the helper, which holds little for long: small young generations keep it some 15 MB smaller (100 MB against 86 after 45
 * checkpoints) at no cost in processor time. And for what runs seldom but must not take long then: code is compiled at its first call,
 * simply, rather than interpreted until it has been called often, and kept: thrown away whenever it had not been called for a while, it
 * made a rollback 0.3 ms slower. set-up's systemd unit says the same.
 */
export const HELPER_NODE_FLAGS = ['--max-semi-space-size=1', '--always-sparkplug', '--no-flush-bytecode'];

/** Starts `serve` so that it outlives us; its words go to a log. With --json a failure can be told again by us. */
function detach(node: string, args: string[], socket: string, log: string, more: string[] = []): Started {
  const out = openLog(log);
  const child = spawn(node, [...HELPER_NODE_FLAGS, ...args, 'serve', '--json', '--socket', socket, ...more], {
    detached: true,
    cwd: '/',
    stdio: ['ignore', out, out],
  });
  closeSync(out);
  child.unref();
  return { child, log, indirect: false };
}

/** @throws TeleportError `invalidRequest` where the socket's folder, which it is in, is not there and can't be made */
function openLog(log: string): number {
  try {
    // Node's own `recursive` never comes back where there can be no such folder, as below /proc.
    execFileSync('mkdir', ['-p', '--', dirname(log)], { stdio: 'pipe', encoding: 'utf8' });
    return openSync(log, 'a', 0o600);
  } catch (cause) {
    const why = ((cause as { stderr?: string }).stderr || (cause as Error).message).trim();
    throw new TeleportError('invalidRequest', `the helper's log cannot be at ${log}: ${why}`, {
      hint: 'TELEPORT_ENV_SOCKET names a place where a folder can be made',
      cause,
    });
  }
}

/** This very program: the bundle, or its sources through tsx. */
function ownProgram(): [node: string, args: string[]] {
  if (!__filename.endsWith('.ts')) return [process.execPath, [join(__dirname, 'teleport-env.js')]];
  const tsx = pathToFileURL(createRequire(__filename).resolve('tsx'));
  return [process.execPath, ['--import', tsx.href, join(__dirname, '../cli/main.ts')]];
}

function hasUnit(): boolean {
  if (!existsSync('/run/systemd/system')) return false;
  return ['/etc/systemd/system', '/usr/lib/systemd/system', '/lib/systemd/system'].some((d) =>
    existsSync(join(d, UNIT)),
  );
}

function systemctl(root: boolean): Started {
  const start = ['--no-ask-password', 'start', UNIT];
  const child = root
    ? spawn('systemctl', start, { stdio: 'ignore' })
    : spawn('sudo', ['-n', '--', '/usr/bin/systemctl', ...start], { stdio: 'ignore' });
  return { child, indirect: true };
}

/** @throws TeleportError `notAllowed` where anybody but root could have written a file that is to run as root. */
function refuseUntrusted(path: string): void {
  for (let at = path; ; at = dirname(at)) {
    const { uid, mode } = lstatSync(at);
    // A link's own mode says nothing; where it leads is root's choice when its folder is root's.
    if (uid !== 0 || ((mode & 0o170000) !== 0o120000 && (mode & 0o022) !== 0))
      throw new TeleportError('notAllowed', `${at} can be written by others than root, so it is not run as root`, {
        hint: SETUP_HINT,
      });
    if (at === dirname(at)) return;
  }
}

async function waitFor(socket: string, client: string, { child, log, indirect }: Started): Promise<Connection> {
  let end: { code: number | null } | undefined;
  child.once('exit', (code) => {
    end = { code };
  });
  child.once('error', () => {
    end = { code: 127 };
  });
  let grace: number | undefined;
  for (const deadline = Date.now() + START_TIMEOUT_MS; Date.now() < deadline; await sleep(POLL_MS)) {
    const connection = await tryConnect(socket, client);
    if (connection) return connection;
    if (!end || (indirect && end.code === 0)) continue;
    // Two clients that start one at the same time: the other's may be about to listen.
    grace ??= Date.now() + 500;
    if (Date.now() < grace) continue;
    throw indirect
      ? new TeleportError('notRoot', 'the helper does not run, and starting it takes root', {
          hint: `sudo systemctl start ${UNIT}, or ${SETUP_HINT}`,
        })
      : startFailure(log);
  }
  throw new TeleportError('noHelper', `the helper did not answer on ${socket} within ${START_TIMEOUT_MS / 1000} s`, {
    hint: log && `see ${log}`,
  });
}

/** Tells again what the daemon said before it ended. */
function startFailure(log: string | undefined): TeleportError {
  const lines = log ? readFileSync(log, 'utf8').trim().split('\n') : [];
  const last = lines.at(-1) ?? '';
  try {
    const { error } = JSON.parse(last);
    const { code, hint } = ErrorData.parse({ code: error.code, hint: error.hint ?? undefined });
    return new TeleportError(code, error.message, { hint });
  } catch {
    return new TeleportError('noHelper', `the helper could not start${last && `: ${last}`}`, {
      hint: log && `see ${log}`,
    });
  }
}
