/**
 * A helper made of answers: speaks the client process's protocol on stdio from a scenario, with no engine behind it. What it
 * is asked is validated by the protocol's schemas, and what it has no answer for is an error that names the question.
 * `fake-helper-build.ts` makes a script of it that the extension can run; it takes orders through a folder (see `orders`).
 */
import { appendFileSync, existsSync, readdirSync, readFileSync, rmSync, watch, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createMessageConnection, ResponseError, StreamMessageReader, StreamMessageWriter } from 'vscode-jsonrpc/node';
import type { ZodType } from 'zod';
import { BRIDGE_METHODS } from '../../helper/protocol/bridge.ts';
import type { ErrorCode } from '../../helper/protocol/errors.ts';
import { METHODS, PROTOCOL_VERSION } from '../../helper/protocol/methods.ts';
import type { Branch, Change, Checkpoint, Need, Sandbox } from '../../helper/protocol/model.ts';
import { checkpointOf, HUGE, makeScenario, ODD_FILES, type ScenarioName } from './scenarios.ts';

class Refusal extends Error {
  constructor(
    readonly code: ErrorCode,
    message: string,
    readonly hint?: string,
    readonly more: object = {},
  ) {
    super(message);
  }
}

// biome-ignore lint/suspicious/noExplicitAny: validated by the protocol's schemas before it gets here.
type P = Record<string, any>;

const scenarioName = (process.env.FAKE_HELPER_SCENARIO ?? 'sample') as ScenarioName;
const ordersFolder = process.env.FAKE_HELPER_ORDERS;
const workspace = process.env.FAKE_HELPER_WORKSPACE ?? '/work';
const world = makeScenario(scenarioName, workspace, Date.now());
let connected = false;
const stalled = new Set<string>();
let hang = scenarioName === 'hanging';

const connection = createMessageConnection(
  new StreamMessageReader(process.stdin),
  new StreamMessageWriter(process.stdout),
);
const tell = (name: string, params: object) => void connection.sendNotification(name, params);
const bytes = (text: string) => Buffer.from(text, 'utf8').toString('base64');

function sandboxOf(ref: string): Sandbox {
  const found = world.sandboxes.find((s) => s.id === ref || s.name === ref);
  if (!found) throw new Refusal('unknownSandbox', `there is no sandbox ${ref}`);
  return found;
}
function checkpoints(sandbox: Sandbox): Checkpoint[] {
  return world.checkpoints.get(sandbox.id)!;
}
function find(sandbox: Sandbox, id: string): Checkpoint {
  const found = checkpoints(sandbox).find((c) => c.id === id);
  if (!found) throw new Refusal('unknownCheckpoint', `there is no checkpoint ${id} in ${sandbox.name}`);
  return found;
}
function nextNumber(ids: readonly string[]): number {
  return Math.max(-1, ...ids.map((id) => Number(id.slice(1)))) + 1;
}
function add(sandbox: Sandbox, more: Partial<Checkpoint>): Checkpoint {
  const id = `k${nextNumber(checkpoints(sandbox).map((c) => c.id))}`;
  const made = checkpointOf({ id, parent: sandbox.current, createdAt: new Date().toISOString(), ...more });
  checkpoints(sandbox).unshift(made);
  sandbox.current = id;
  sandbox.checkpoints++;
  const head = sandbox.branches.find((b) => b.id === sandbox.head);
  if (head) head.checkpoint = id;
  tell('checkpoint/added', { sandbox: sandbox.id, checkpoint: made });
  changed(sandbox);
  setTimeout(() => {
    made.state.verified = true;
    tell('checkpoint/changed', { sandbox: sandbox.id, checkpoint: made });
  }, 300);
  return made;
}
function changed(sandbox: Sandbox): void {
  tell('sandbox/changed', { sandbox });
}
function branch(sandbox: Sandbox, role: Branch['role'], checkpoint: string): Branch {
  const id = `b${nextNumber([...sandbox.branches.map((b) => b.id), `b${world.branches++}`])}`;
  const made: Branch = { id, role, checkpoint, createdAt: new Date().toISOString(), processes: 2 };
  sandbox.branches.push(made);
  return made;
}
function moveHead(sandbox: Sandbox, to: string, cause: string, saved: string | null, made?: Branch) {
  sandbox.branches = sandbox.branches.filter((b) => b.id !== sandbox.head);
  const head = made ?? branch(sandbox, 'head', to);
  head.role = 'head';
  sandbox.head = head.id;
  sandbox.current = to;
  const ms = 1.34;
  tell('head/moved', { sandbox: sandbox.id, head: head.id, checkpoint: to, cause, ms, saved });
  changed(sandbox);
  for (const [session, screen] of world.screens)
    tell('session/restored', {
      sandbox: sandbox.id,
      branch: head.id,
      session,
      running: true,
      scrollback: bytes(screen),
      at: find(sandbox, to).createdAt,
      ms,
    });
  return { head: head.id, checkpoint: to, rollbackMs: ms, path: 'warm', saved, steps: [] };
}
function output(p: P, text: string): void {
  world.screens.set(p.session, (world.screens.get(p.session) ?? '') + text);
  const { head } = sandboxOf(p.sandbox);
  tell('session/output', {
    sandbox: sandboxOf(p.sandbox).id,
    branch: p.branch ?? head,
    session: p.session,
    stream: 'stdout',
    data: bytes(text),
  });
}
/** Somebody asked for this very helper. */
function told(): void {
  if (ordersFolder) writeFileSync(join(ordersFolder, 'asked'), '');
}
const PROMPT = '\x1b]633;A\x07\x1b[1;32mme@box\x1b[0m:\x1b[1;34m~/api-server\x1b[0m$ \x1b]633;B\x07';

function change(kind: Change['kind'], path: string, type: Change['type'] = 'file'): Change {
  return { path: `${workspace}/${path}`, kind, type, size: 20 };
}

const ran = (p: P) => ({
  exitCode: 0,
  output: bytes(`(what "${p.line.slice(0, 20)}…" says)\n`),
  truncated: false,
  durationMs: 4,
  checkpoint: add(sandboxOf(p.sandbox), {
    kind: 'run',
    command: p.line,
    exitCode: 0,
    durationMs: 4,
    filesChanged: 2,
  }),
  undone: false,
});

const ANSWERS: Record<string, (p: P) => unknown> = {
  'teleport/handshake': () => {
    if (scenarioName === 'noHelper') throw new Refusal('noHelper', 'No helper is installed on this machine.');
    if (scenarioName === 'old' || scenarioName === 'new') {
      const theirs = scenarioName === 'old' ? 0 : PROTOCOL_VERSION + 2;
      throw new Refusal('protocolMismatch', `the helper speaks protocol ${theirs}`, undefined, {
        protocolVersion: theirs,
      });
    }
    connected = true;
    return {
      protocolVersion: PROTOCOL_VERSION,
      helperVersion: '0.1.0',
      pid: process.pid,
      uid: 1000,
      needs: world.needs,
    };
  },
  'workspace/measure': () => ({
    files: 12,
    bytes: scenarioName === 'large' ? 2_340_000_000 : 20_000,
    complete: true,
    estimatedMs: scenarioName === 'large' ? 11_000 : 40,
    entries: [
      { name: 'node_modules', type: 'folder', files: 81_000, bytes: 2_300_000_000 },
      { name: 'src', type: 'folder', files: 12, bytes: 40_000_000 },
    ],
  }),
  'follow/get': (p) => ({ on: false, to: sandboxOf(p.sandbox).workspace, at: null, conflicts: [] }),
  'file/watch': () => ({ watch: 'w1', live: false }),
  'file/unwatch': () => ({}),
  'apply/plan': () => ({
    to: workspace,
    from: 'b1',
    changes: [
      { path: 'config1.json', kind: 'changed', type: 'file', size: 20, conflict: null },
      { path: 'src/new.ts', kind: 'added', type: 'file', size: 20, conflict: null },
      { path: 'ignore_me.txt', kind: 'changed', type: 'file', size: 20, conflict: 'changed' },
      { path: 'locked/settings.json', kind: 'changed', type: 'file', size: 20, conflict: 'unwritable' },
    ],
    left: [],
  }),
  'apply/perform': (p) => ({ to: workspace, applied: p.paths, conflicts: [], failed: [] }),
  'apply/patch': () => ({ patch: 'diff --git a/config1.json b/config1.json\n', files: 1, left: [] }),
  doctor: (): { needs: Need[] } => ({ needs: world.needs }),
  'sandbox/list': () => ({ sandboxes: world.sandboxes }),
  'sandbox/get': (p) => ({ sandbox: sandboxOf(p.sandbox) }),
  'sandbox/create': (p) => {
    const id = `s${nextNumber(world.sandboxes.map((s) => s.id))}`;
    const root = checkpointOf({ id: 'k0', parent: null, kind: 'root', createdAt: new Date().toISOString() });
    const sandbox: Sandbox = {
      id,
      name: p.name ?? p.workspace.split('/').at(-1),
      workspace: p.workspace,
      owner: 1000,
      state: 'running',
      network: p.network,
      createdAt: root.createdAt,
      head: null,
      current: 'k0',
      branches: [],
      checkpoints: 1,
      canUndo: false,
    };
    sandbox.head = branch(sandbox, 'head', 'k0').id;
    world.sandboxes.push(sandbox);
    world.checkpoints.set(id, [root]);
    changed(sandbox);
    return { sandbox, head: sandbox.head, checkpoint: 'k0' };
  },
  'sandbox/start': (p) => {
    const sandbox = sandboxOf(p.sandbox);
    sandbox.state = 'running';
    moveHead(sandbox, sandbox.current, 'start', null);
    return { sandbox };
  },
  'sandbox/stop': (p) => {
    const sandbox = sandboxOf(p.sandbox);
    Object.assign(sandbox, { state: 'stopped', head: null, branches: [] });
    changed(sandbox);
    return { sandbox, saved: null };
  },
  'sandbox/remove': (p) => {
    const sandbox = sandboxOf(p.sandbox);
    world.sandboxes.splice(world.sandboxes.indexOf(sandbox), 1);
    tell('sandbox/removed', { sandbox: sandbox.id });
    return {};
  },
  'checkpoint/create': (p) => {
    const kind = p.command === undefined ? 'explicit' : 'run';
    const { label = null, command = null, exitCode = null, durationMs = null } = p;
    return {
      checkpoint: add(sandboxOf(p.sandbox), { kind, label, command, exitCode, durationMs, filesChanged: 1 }),
      steps: [],
    };
  },
  'checkpoint/list': (p) => {
    const sandbox = sandboxOf(p.sandbox);
    const all = checkpoints(sandbox);
    const from = p.before ? all.findIndex((c) => c.id === p.before) + 1 : 0;
    const page = all.slice(from, from + (p.limit ?? all.length));
    return { checkpoints: page, head: sandbox.head, current: sandbox.current, more: from + page.length < all.length };
  },
  'checkpoint/label': (p) => {
    const sandbox = sandboxOf(p.sandbox);
    const checkpoint = find(sandbox, p.checkpoint);
    checkpoint.label = p.label;
    tell('checkpoint/changed', { sandbox: sandbox.id, checkpoint });
    return { checkpoint };
  },
  'checkpoint/delete': (p) => {
    const sandbox = sandboxOf(p.sandbox);
    const { id } = find(sandbox, p.checkpoint);
    if (checkpoints(sandbox).some((c) => c.parent === id))
      throw new Refusal('checkpointInUse', `${id} can’t be deleted: later checkpoints are built on it.`);
    world.checkpoints.set(
      sandbox.id,
      checkpoints(sandbox).filter((c) => c.id !== id),
    );
    tell('checkpoint/removed', { sandbox: sandbox.id, checkpoint: id });
    return {};
  },
  'checkpoint/rollback': (p) => {
    const sandbox = sandboxOf(p.sandbox);
    const to = find(sandbox, p.checkpoint);
    if (to.state.broken) throw new Refusal('restoreFailed', `${to.id} can’t be restored: ${to.state.broken}`);
    const saved = p.discard ? null : add(sandbox, { kind: 'saved', filesChanged: 2 }).id;
    sandbox.canUndo = saved !== null;
    world.undo = saved;
    return moveHead(sandbox, to.id, 'rollback', saved);
  },
  'checkpoint/undo': (p) => {
    const sandbox = sandboxOf(p.sandbox);
    if (!world.undo) throw new Refusal('nothingToUndo', 'there is no rollback to undo');
    const to = world.undo;
    world.undo = null;
    sandbox.canUndo = false;
    return moveHead(sandbox, to, 'undo', null);
  },
  'branch/fork': (p) => {
    const sandbox = sandboxOf(p.sandbox);
    const made = branch(sandbox, 'fork', find(sandbox, p.checkpoint).id);
    changed(sandbox);
    return { branch: made.id, path: 'cold', ms: 24.2, steps: [] };
  },
  'branch/promote': (p) => {
    const sandbox = sandboxOf(p.sandbox);
    const made = sandbox.branches.find((b) => b.id === p.branch);
    if (!made) throw new Refusal('unknownBranch', `there is no branch ${p.branch}`);
    const saved = add(sandbox, { kind: 'saved' }).id;
    return moveHead(sandbox, made.checkpoint, 'promote', saved, made);
  },
  'branch/discard': (p) => {
    const sandbox = sandboxOf(p.sandbox);
    sandbox.branches = sandbox.branches.filter((b) => b.id !== p.branch);
    changed(sandbox);
    return {};
  },
  'session/open': (p) => {
    const session = `x${world.screens.size + 1}`;
    world.screens.set(session, '');
    world.nonce = p.env.__teleport_nonce;
    setTimeout(() => output({ ...p, session }, PROMPT), 20);
    return { session };
  },
  'session/attach': (p) => {
    const screen = world.screens.get(p.session);
    if (screen === undefined) throw new Refusal('unknownSession', `there is no terminal ${p.session}`);
    const session = { id: p.session, branch: 'b1', kind: 'terminal', title: 'bash', running: true, exitCode: null };
    return { session, scrollback: bytes(screen) };
  },
  'session/write': (p) => {
    const typed = Buffer.from(p.data, 'base64').toString('utf8');
    for (const key of typed) {
      if (key !== '\r') {
        world.typed += key;
        output(p, key);
        continue;
      }
      const line = world.typed;
      world.typed = '';
      const mark = `\x1b]633;E;${line.replace(/;/g, '\\x3b')};${world.nonce}\x07\x1b]633;C\x07`;
      output(
        p,
        `\r\n${line ? mark : ''}${line ? `you said ${line}\r\n` : ''}\x1b]633;D${line ? ';0' : ''}\x07${PROMPT}`,
      );
    }
    return {};
  },
  'session/list': (p) => ({
    sessions: [...world.screens.keys()].map((id) => ({
      id,
      branch: sandboxOf(p.sandbox).head,
      kind: 'terminal',
      title: 'bash',
      running: true,
      exitCode: null,
    })),
  }),
  'session/resize': () => ({}),
  'session/close': (p) => {
    world.screens.delete(p.session);
    return {};
  },
  run: (p) => {
    // An echo is one, for those who read what a line says.
    const said = /^echo (.*)$/.exec(p.line)?.[1];
    if (p.stream && said !== undefined) tell('run/output', { stream: p.stream, data: bytes(`${said}\n`) });
    return ran(p);
  },
  diff: (p) => {
    const sandbox = sandboxOf(p.sandbox);
    if (scenarioName === 'odd') {
      const changed = p.to === 'k1' ? ODD_FILES : p.to === 'k2' ? ODD_FILES.filter(({ size }) => size === HUGE) : [];
      return { changes: changed.map(({ path, size }) => ({ ...change('changed', path), size })) };
    }
    const count = p.to?.startsWith('k') ? find(sandbox, p.to).filesChanged : 2;
    const all = [change('changed', 'config1.json'), change('added', 'src/new.ts'), change('deleted', 'ignore_me.txt')];
    return { changes: all.slice(0, count).filter((c) => !p.path || c.path.startsWith(p.path)) };
  },
  'file/stat': (p) => {
    if (p.path === sandboxOf(p.sandbox).workspace) return { type: 'folder', size: 0, mode: 0o755, mtimeMs: 1 };
    if (p.at.startsWith('k')) find(sandboxOf(p.sandbox), p.at);
    return { type: 'file', size: contents(p).length, mode: 0o644, mtimeMs: 1 };
  },
  'file/list': () => ({
    entries: [{ name: 'config1.json', stat: { type: 'file', size: 20, mode: 0o644, mtimeMs: 1 } }],
  }),
  'file/read': (p) => {
    if (p.at.startsWith('k')) find(sandboxOf(p.sandbox), p.at);
    if (p.path.endsWith('.png')) return { data: Buffer.alloc(64, '\x89PNG\0').toString('base64'), size: 64, eof: true };
    const text = contents(p);
    return { data: bytes(text), size: text.length, eof: true };
  },
  'port/list': (p) => ({
    branch: p.branch ?? sandboxOf(p.sandbox).head,
    ports: scenarioName === 'sample' ? [{ port: 3000, pid: 57, command: 'node server.js' }] : [],
  }),
  'process/list': () => ({
    processes: [
      { pid: 41, ppid: 1, state: 'S', command: '-bash', rss: 4_200_000, uid: 1000 },
      { pid: 57, ppid: 41, state: 'S', command: 'node server.js --port 3000', rss: 48_000_000, uid: 1000 },
      {
        pid: 63,
        ppid: 1,
        state: 'S',
        command: '/usr/lib/postgresql/16/bin/postgres -D data',
        rss: 21_000_000,
        uid: 1000,
      },
    ],
  }),
};

function contents({ at, path }: P): string {
  const version = at.startsWith('k') ? Math.min(2, 1 + Math.floor(Number(at.slice(1)) / 3)) : 3;
  return `{\n  "file": "${path.split('/').at(-1)}",\n  "api_version": "v${version}",\n  "retries": 3\n}\n`;
}

connection.onRequest('initialize', () => ({
  capabilities: {},
  serverInfo: { name: 'teleport-env', version: '0.1.0' },
}));
connection.onRequest('shutdown', () => null);
connection.onNotification('exit', () => process.exit(0));
connection.onNotification(() => {});
const hear = (method: string, params: unknown) => {
  if (ordersFolder) appendFileSync(join(ordersFolder, 'heard'), `${JSON.stringify({ method, params })}\n`);
};
connection.onRequest(async (method, params, token) => {
  if (method === 'teleport/handshake') told();
  hear(method, params);
  token.onCancellationRequested(() => hear('cancelled', { method }));
  if (hang || stalled.has(method)) return new Promise(() => {});
  const schemas: Record<string, { params: ZodType }> = { ...METHODS, ...BRIDGE_METHODS };
  const parsed = schemas[method]?.params.safeParse(params ?? {});
  const answer = ANSWERS[method];
  if (!parsed || !answer) return new ResponseError(-32601, `fake helper: no answer for ${method}`);
  if (!parsed.success)
    return new ResponseError(-32602, `${method}: ${parsed.error.message}`, { code: 'invalidRequest' });
  if (!connected && !(method in BRIDGE_METHODS)) return new ResponseError(1, 'no helper', { code: 'noHelper' });
  try {
    const said = answer(parsed.data as P);
    // When it was first asked that, for those who measure what comes after.
    if (ordersFolder) {
      const file = join(ordersFolder, `answered ${method.replace('/', ' ')}`);
      if (!existsSync(file)) writeFileSync(file, String(Date.now()));
    }
    return said;
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return new ResponseError(1, error.message, { code: error.code, hint: error.hint, ...error.more });
  }
});
process.stdin.on('end', () => process.exit(0));

/** Each file that appears in the folder is one order. */
const ORDERS: Record<string, (order: P) => void> = {
  lost: ({ message = 'killed' }) => {
    connected = false;
    tell('teleport/lost', { message });
  },
  exit: () => process.exit(1),
  hang: () => {
    hang = true;
  },
  /** Requests of that kind are heard and never answered. */
  stall: ({ method }) => stalled.add(method),
  label: ({ sandbox = 's1', checkpoint, label }) => ANSWERS['checkpoint/label']!({ sandbox, checkpoint, label }),
  /** By another client. */
  remove: ({ sandbox = 's1', checkpoint }) => ANSWERS['checkpoint/delete']!({ sandbox, checkpoint }),
  notify: ({ name, params }) => tell(name, params),
  add: ({ sandbox = 's1', count = 1, ...more }) => {
    for (let i = 0; i < count; i++)
      add(sandboxOf(sandbox), { kind: 'run', command: 'made elsewhere', exitCode: 0, ...more });
  },
};
if (ordersFolder) {
  const obey = () => {
    for (const name of readdirSync(ordersFolder).sort()) {
      if (!name.endsWith('.json')) continue;
      const path = join(ordersFolder, name);
      const order = JSON.parse(readFileSync(path, 'utf8'));
      rmSync(path);
      ORDERS[order.do]!(order);
    }
  };
  watch(ordersFolder, obey);
}

connection.listen();
