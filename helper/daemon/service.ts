/**
 * What the daemon offers: every method of the protocol, on the sandboxes of whoever asks. Parameters have been validated
 * when they come here; a sandbox is found only among the caller's own (root sees all).
 */
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Cgroup } from '../engine/cgroup.ts';
import { diffAsync } from '../engine/diff.ts';
import { faultPoint } from '../engine/fault.ts';
import { defaultLimits } from '../engine/limits.ts';
import { LinkedNames } from '../engine/linked-names.ts';
import type { Machine } from '../engine/machine.ts';
import { Networks } from '../engine/network.ts';
import type { Pins } from '../engine/pins.ts';
import { processors } from '../engine/processors.ts';
import { refillReserve } from '../engine/reserve.ts';
import { makeSkeleton, toolFolders } from '../engine/skeleton.ts';
import { Steps } from '../engine/steps.ts';
import { removeTree } from '../engine/trees.ts';
import { INSIDE_BIN } from '../protocol/agents.ts';
import { TeleportError } from '../protocol/errors.ts';
import {
  GATEWAY_PORT,
  type Method,
  type NotificationName,
  type NotificationParams,
  type Parsed,
  PROTOCOL_VERSION,
  type Result,
} from '../protocol/methods.ts';
import type { Need } from '../protocol/model.ts';
import { NO_USAGE } from '../protocol/usage.ts';
import { FORMAT, SandboxRecord } from '../sandbox/records.ts';
import { bequeath, collect } from '../sandbox/tree.ts';
import { Bases } from './bases.ts';
import type { Branch } from './branch.ts';
import { type Client, paced } from './client.ts';
import { checkWorkspacePath, copyIn } from './copy-in.ts';
import { fileHandlers } from './files.ts';
import { writeGateway } from './gateway.ts';
import { copyGit } from './git-folders.ts';
import { nameAndHome, payloadOf, ROOT_INSIDE } from './owner.ts';
import { portsOf } from './ports.ts';
import { Sandbox } from './sandbox.ts';
import { AFTER_REPLY_MS, type Surroundings } from './sandbox-state.ts';
import type { Ran } from './shell.ts';
import { StandbyBudget } from './standby-budget.ts';
import { readRecord } from './store.ts';
import { Watches } from './watches.ts';
import { whyFailed } from './why.ts';

export interface ServiceOptions {
  version: string;
  machine: Machine;
  doctor(): Promise<Need[]>;
  shutdown(): void;
  /** Whether the administrator allows this user root inside. */
  mayBeRoot(uid: number): boolean;
  log(text: string): void;
}

type Handlers = {
  [M in Method]: (params: Parsed<M>, client: Client, signal: AbortSignal) => Promise<Result<M>>;
};

/** Only these enter a sandbox by themselves; others are named by the caller. */
function defaultEnvironment(uid: number, path: string | undefined): Record<string, string> {
  const { name, home, shell } = nameAndHome(uid);
  return {
    PATH: path ?? '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    HOME: home,
    USER: name,
    LOGNAME: name,
    SHELL: shell,
    LANG: 'C.UTF-8',
    TELEPORT_ENV: '1',
  };
}

/** First on PATH: a `teleport-env` of the host can reach nothing from in there. */
function withInsideProgram(env: Record<string, string>): Record<string, string> {
  return { ...env, PATH: [INSIDE_BIN, env.PATH].filter(Boolean).join(':') };
}

export class Service {
  private readonly options: ServiceOptions;
  private readonly machine: Machine;
  private readonly sandboxes = new Map<string, Sandbox>();
  private readonly clients = new Set<Client>();
  private readonly bases: Bases;
  private next = 1;
  /** A sandbox on disk could not be read. */
  private incomplete = false;
  private readonly networks: Networks;
  private readonly linked = new LinkedNames();
  private readonly standbys = new StandbyBudget(processors);
  private readonly watches: Watches;
  private needs: Promise<Need[]> | null = null;

  constructor(options: ServiceOptions) {
    this.options = options;
    this.machine = options.machine;
    this.networks = new Networks(options.machine, options.log);
    this.watches = new Watches(options.machine.init, options.log);
    this.bases = new Bases(this.machine.layout);
  }

  /** Finds what an earlier daemon left: sandboxes, checkpoints, branches still alive. */
  async load(): Promise<void> {
    const { layout } = this.machine;
    for (const dir of [layout.sandboxes, layout.trash, layout.pins]) mkdirSync(dir, { recursive: true, mode: 0o700 });
    await this.bases.clean();
    for (const id of readdirSync(layout.trash)) await removeTree(join(layout.trash, id));
    for (const id of readdirSync(layout.sandboxes)) {
      const place = layout.sandbox(id);
      this.next = Math.max(this.next, Number(id.slice(1)) + 1 || 1);
      if (!existsSync(place.file)) {
        await this.removeUnfinished(id);
        continue;
      }
      try {
        const record = readRecord(SandboxRecord, place.file);
        const sandbox = new Sandbox(record, place, this.around(record));
        await sandbox.load();
        this.sandboxes.set(id, sandbox);
      } catch (error) {
        this.incomplete = true;
        this.options.log(`${id}: left out: ${(error as Error).message}`);
      }
    }
    await this.sweepBases();
    await this.sweepPins();
    await this.endStrangers();
  }

  /** The helper ended before it was made whole: its record is written last. */
  private async removeUnfinished(id: string): Promise<void> {
    this.options.log(`${id}: removed, it was never finished`);
    for (const name of this.groups()) if (name.startsWith(`${id}-`)) await this.groupOf(name).end();
    await removeTree(this.machine.layout.sandbox(id).dir);
  }

  /** Processes of branches that nobody owns: their folders are gone. */
  private async endStrangers(): Promise<void> {
    const { layout } = this.machine;
    for (const name of this.groups()) {
      const [id = '', branch = ''] = name.split('-');
      if (existsSync(layout.sandbox(id).branch(branch).dir)) continue;
      this.options.log(`${name}: ended, nothing is on record of it`);
      await this.groupOf(name).end();
    }
  }

  private groups(): string[] {
    return readdirSync(this.machine.cgroups).filter((name) => /^s\d+-b\d+$/.test(name));
  }

  private groupOf(name: string): Cgroup {
    return new Cgroup(join(this.machine.cgroups, name));
  }

  private around({ id, base, owner }: Pick<SandboxRecord, 'id' | 'base' | 'owner'>): Surroundings {
    return {
      machine: this.machine,
      base: this.bases.get(base, owner),
      networks: this.networks,
      linked: this.linked,
      standbys: this.standbys,
      notify: (owner, name, params) => {
        this.tell(owner, name, params);
        const sandbox = this.sandboxes.get(id);
        if (sandbox) this.watches.heard(sandbox, name, params);
      },
      heard: (owner) => [...this.clients].some((c) => c.owner.uid === owner || c.owner.uid === 0),
      log: this.options.log,
    };
  }

  /** What no sandbox stands on any more goes. Not while one is left out, which may stand on anything. */
  private async sweepBases(): Promise<void> {
    if (this.incomplete) return;
    await this.bases.sweep([...this.sandboxes.values()].map(({ record }) => record));
  }

  /** What of a base was kept for checkpoints that are gone by now. Not of a base that one stands on which can't be read: nobody knows what it needs. */
  private async sweepPins(): Promise<void> {
    if (this.incomplete) return;
    const used = new Map<Pins, Set<string>>();
    const unknown = new Set<Pins>();
    for (const { state, catalogue } of this.sandboxes.values()) {
      const { pins } = state.around.base;
      const names = used.get(pins) ?? new Set();
      used.set(pins, names);
      const damaged = [...catalogue.damaged.values()];
      for (const manifest of [...catalogue.tree.values(), ...damaged.map((one) => one.manifest)])
        for (const name of manifest.pins) names.add(name);
      if (damaged.some((one) => !one.read)) unknown.add(pins);
    }
    used.set(this.bases.host.pins, used.get(this.bases.host.pins) ?? new Set());
    for (const [pins, names] of used) if (!unknown.has(pins)) await pins.sweep(names);
  }

  private tell<N extends NotificationName>(owner: number, name: N, params: NotificationParams<N>): void {
    for (const client of this.clients)
      if (client.owner.uid === owner || client.owner.uid === 0) void client.notify(name, params);
  }

  join(client: Client): void {
    this.clients.add(client);
    client.onLeave(() => this.clients.delete(client));
  }

  private own(client: Client): Sandbox[] {
    return [...this.sandboxes.values()].filter(
      (s) => client.owner.uid === 0 || s.record.owner.uid === client.owner.uid,
    );
  }

  private find(client: Client, ref: string): Sandbox {
    const own = this.own(client);
    const byId = own.find((s) => s.record.id === ref);
    if (byId) return byId;
    const named = own.filter((s) => s.record.name === ref);
    const mine = named.filter((s) => s.record.owner.uid === client.owner.uid);
    if (mine.length === 1) return mine[0]!;
    if (named.length === 1) return named[0]!;
    if (named.length > 1)
      throw new TeleportError('ambiguousSandbox', `several sandboxes are called ${JSON.stringify(ref)}`, {
        hint: 'name one by its id',
      });
    throw new TeleportError('unknownSandbox', `there is no sandbox ${JSON.stringify(ref)}`, {
      hint: 'teleport-env list shows yours',
    });
  }

  private doctor(): Promise<Need[]> {
    this.needs ??= this.options.doctor().finally(() => setTimeout(() => (this.needs = null), 10_000).unref());
    return this.needs;
  }

  /** @throws TeleportError `workspace…`, `volumeFull`; then nothing of the sandbox is left */
  private async create(
    params: Parsed<'sandbox/create'>,
    client: Client,
    signal: AbortSignal,
  ): Promise<Result<'sandbox/create'>> {
    checkWorkspacePath(params.workspace);
    const workspace = params.workspace.replace(/\/+$/, '');
    const name = this.freeName(
      client,
      params.name ?? (workspace.split('/').at(-1) || 'sandbox'),
      params.name !== undefined,
    );
    await this.networks.prepare(params);
    const { owner } = client;
    if (params.root && !this.options.mayBeRoot(owner.uid))
      throw new TeleportError('notAllowed', `this machine's administrator allows uid ${owner.uid} no root inside`, {
        hint: `echo ${owner.uid} | sudo tee -a ${ROOT_INSIDE}`,
      });
    const payload = payloadOf({ owner, root: params.root });
    const id = `s${this.next++}`;
    const place = this.machine.layout.sandbox(id);
    const path = params.env.PATH;
    const progress = (message: string, done?: number, total?: number): void => {
      if (params.progress) void client.notify('progress', { token: params.progress, message, done, total });
    };
    const chosen = params.base
      ? await this.bases.choose(owner, params.base, { progress, signal })
      : { base: '/', done() {} };
    const { base } = chosen;
    const record: SandboxRecord = {
      format: FORMAT,
      id,
      name,
      owner: { uid: owner.uid, gid: owner.gid, groups: owner.groups, home: owner.home },
      workspace,
      exclude: params.exclude,
      hostname: hostLabel(name),
      base,
      network: params.network,
      lan: params.network === 'nat' && params.lan,
      limits: { ...defaultLimits(), disk: null, ...params.limits },
      env: withInsideProgram({
        ...defaultEnvironment(payload.uid, path),
        ...(params.root ? { HOME: owner.home } : {}),
        ...params.env,
      }),
      ...(params.root ? { root: true } : {}),
      createdAt: new Date().toISOString(),
      current: 'k0',
      head: null,
      next: { checkpoint: 1, branch: 1, session: 1 },
      undo: [],
    };
    try {
      const around = this.around(record);
      const root = around.base.root();
      const sandbox = new Sandbox(record, place, around);
      for (const dir of [
        place.dir,
        place.checkpoints,
        place.branches,
        place.checkpoint('k0').dir,
        place.checkpoint('k0').layer,
      ])
        mkdirSync(dir, { mode: dir === place.dir ? 0o700 : 0o755 });
      makeSkeleton(place.skeleton, {
        base: root,
        init: this.machine.init,
        hostname: record.hostname,
        home: owner.home,
        uid: payload.uid,
        gid: payload.gid,
        seen: path ? toolFolders(path, owner.home) : [],
        masked: [this.machine.layout.state],
        git: params.git,
      });
      faultPoint('create:layers');
      const layer = place.checkpoint('k0').layer;
      const how = { base: root, progress, signal };
      await copyIn(owner, workspace, layer, { ...how, exclude: params.exclude, doing: 'copying the workspace' });
      await copyGit(owner, workspace, params.git?.folders ?? [], layer, how);
      progress('starting');
      faultPoint('create:copied');
      const begun = await sandbox.begin(new Steps());
      this.sandboxes.set(id, sandbox);
      sandbox.changed();
      return { sandbox: sandbox.info(), ...begun };
    } catch (error) {
      await removeTree(place.dir);
      if (signal.aborted) throw new TeleportError('cancelled', 'cancelled: no sandbox was made');
      throw error;
    } finally {
      chosen.done();
    }
  }

  private freeName(client: Client, wanted: string, explicit: boolean): string {
    const taken = new Set(this.own(client).map((s) => s.record.name));
    if (/^s[0-9]+$/.test(wanted))
      throw new TeleportError('invalidRequest', `${wanted} looks like an id: choose another name`);
    if (!taken.has(wanted)) return wanted;
    if (explicit)
      throw new TeleportError('invalidRequest', `a sandbox is called ${JSON.stringify(wanted)} already`, {
        hint: 'choose another name',
      });
    for (let n = 2; ; n++) if (!taken.has(`${wanted}-${n}`)) return `${wanted}-${n}`;
  }

  private async gc(params: Parsed<'gc'>, client: Client): Promise<Result<'gc'>> {
    const deleted: Result<'gc'>['deleted'] = [];
    let freedBytes = 0;
    for (const sandbox of params.sandbox ? [this.find(client, params.sandbox)] : this.own(client)) {
      const nodes = [...sandbox.catalogue.tree.values()];
      const needed = new Set([...sandbox.branches.needed(), ...sandbox.catalogue.heldByDamaged()]);
      const left = new Map(nodes.map((node) => [node.id, { ...node }]));
      for (const checkpoint of collect(nodes, needed, params, Date.now())) {
        const node = left.get(checkpoint)!;
        left.delete(checkpoint);
        const freed = params.dryRun
          ? node.bytes - bequeath(left.values(), node)
          : await deletedNow(sandbox, checkpoint);
        if (freed === null) continue;
        freedBytes += freed;
        deleted.push({ sandbox: sandbox.record.id, checkpoint });
      }
    }
    if (!params.dryRun) refillReserve();
    return { deleted, freedBytes };
  }

  readonly handlers: Handlers = {
    initialize: async ({ protocolVersion }, { owner }) => {
      if (protocolVersion !== PROTOCOL_VERSION && protocolVersion !== PROTOCOL_VERSION - 1)
        throw new TeleportError(
          'protocolMismatch',
          `the helper speaks protocol ${PROTOCOL_VERSION}, the client ${protocolVersion}`,
          {
            hint: protocolVersion > PROTOCOL_VERSION ? 'update the helper: npm run setup' : 'update the client',
            protocolVersion: PROTOCOL_VERSION,
          },
        );
      return {
        protocolVersion: PROTOCOL_VERSION,
        helperVersion: this.options.version,
        pid: process.pid,
        uid: owner.uid,
        needs: await this.doctor(),
      };
    },
    doctor: async () => ({ needs: await this.doctor() }),
    shutdown: async (_, { owner }) => {
      if (owner.uid !== 0) throw new TeleportError('notAllowed', 'only root may end the helper');
      setTimeout(() => this.options.shutdown(), AFTER_REPLY_MS);
      return {};
    },
    'sandbox/create': (params, client, signal) => this.create(params, client, signal),
    'sandbox/list': async (_, client) => ({ sandboxes: this.own(client).map((s) => s.info()) }),
    'sandbox/get': async ({ sandbox }, client) => ({ sandbox: this.find(client, sandbox).info() }),
    'sandbox/start': async ({ sandbox }, client) => {
      const found = this.find(client, sandbox);
      await found.start();
      return { sandbox: found.info() };
    },
    'sandbox/stop': async ({ sandbox, discard }, client) => {
      const found = this.find(client, sandbox);
      const saved = await found.stop({ discard });
      return { sandbox: found.info(), saved };
    },
    'network/set': async ({ sandbox, network, lan }, client) => {
      const found = this.find(client, sandbox);
      await found.setNetwork({ network, lan: network === 'nat' && lan });
      return { sandbox: found.info() };
    },
    'sandbox/remove': async ({ sandbox }, client) => {
      const found = this.find(client, sandbox);
      await found.remove(() => this.sandboxes.delete(found.record.id));
      if (found.record.base !== '/') await this.sweepBases();
      return {};
    },
    'checkpoint/create': async ({ sandbox, branch, command, expect, ...words }, client) => {
      this.find(client, sandbox).branches.expect(expect);
      const kind = command === undefined ? 'explicit' : 'run';
      const { checkpoint, steps } = await this.find(client, sandbox).createCheckpoint(
        { kind, command, ...words },
        branch,
      );
      return { checkpoint, steps: steps.all };
    },
    'checkpoint/list': async ({ sandbox, limit, before }, client) => {
      const found = this.find(client, sandbox);
      let checkpoints = found.catalogue.list();
      if (before) checkpoints = checkpoints.filter((c) => Number(c.id.slice(1)) < Number(before.slice(1)));
      const more = limit !== undefined && checkpoints.length > limit;
      const { head, current } = found.record;
      return { checkpoints: limit ? checkpoints.slice(0, limit) : checkpoints, head, current, more };
    },
    'checkpoint/label': async ({ sandbox, checkpoint, label }, client) => ({
      checkpoint: this.find(client, sandbox).catalogue.label(checkpoint, label),
    }),
    'checkpoint/delete': async ({ sandbox, checkpoint }, client) => {
      await this.find(client, sandbox).delete(checkpoint);
      return {};
    },
    'checkpoint/rollback': ({ sandbox, checkpoint, discard, untilGone, expect }, client) => {
      const found = this.find(client, sandbox);
      found.branches.expect(expect);
      return leaving(found, untilGone, () => found.rollback(checkpoint, { discard }));
    },
    'checkpoint/undo': ({ sandbox, untilGone }, client) => {
      const found = this.find(client, sandbox);
      return leaving(found, untilGone, () => found.undo());
    },
    'branch/fork': async ({ sandbox, checkpoint, expect }, client) => {
      this.find(client, sandbox).branches.expect(expect);
      const { steps, ...forked } = await this.find(client, sandbox).branches.fork(checkpoint);
      return { ...forked, steps: steps.all };
    },
    'branch/promote': ({ sandbox, branch, discard }, client) => this.find(client, sandbox).promote(branch, { discard }),
    'branch/discard': async ({ sandbox, branch }, client) => {
      await this.find(client, sandbox).discard(branch);
      return {};
    },
    'session/open': async (params, client) => {
      const sandbox = this.find(client, params.sandbox);
      const branch = await sandbox.branch(params.branch);
      const { kind, port, rows = 24, cwd = sandbox.record.workspace, timeoutMs, attach } = params;
      const cols = kind === 'dial' ? port : (params.cols ?? 80);
      if (cols === undefined) throw new TeleportError('invalidRequest', 'to dial takes a port');
      const id = sandbox.state.nextSession();
      const argv = params.argv ?? (kind === 'terminal' ? ['bash', '-i'] : kind === 'dial' ? [] : null);
      if (!argv) throw new TeleportError('invalidRequest', 'a process needs a command');
      const env = sandbox.state.environment({
        ...(kind === 'terminal' ? { TERM: 'xterm-256color', COLORTERM: 'truecolor' } : {}),
        ...params.env,
      });
      const { sessions } = branch;
      branch.unasked = false;
      const listener = attach ? client.listener(sandbox.record.id, branch.id, id, sessions) : undefined;
      await sessions.open({ kind, id, cwd, cols, rows, argv, env, timeoutMs }, listener);
      return { session: id };
    },
    'session/attach': async (params, client) => {
      const sandbox = this.find(client, params.sandbox);
      const branch = await sandbox.branch(params.branch);
      const { sessions } = branch;
      const { session: id, cols, rows } = params;
      const listed = (await sessions.list()).find((s) => s.id === id);
      if (!listed) throw new TeleportError('unknownSession', `there is no session ${id} in this branch`);
      const scrollback = await sessions.attach(id, client.listener(sandbox.record.id, branch.id, id, sessions));
      if (cols && rows && sessions.has(id)) await sessions.resize(id, cols, rows); // it may have ended
      return { session: toSession(branch.id, listed), scrollback: scrollback.toString('base64') };
    },
    'session/write': async ({ sandbox, branch, session, data, eof }, client) => {
      const { sessions } = this.find(client, sandbox).branches.get(branch);
      if (data) await sessions.write(session, Buffer.from(data, 'base64'));
      if (eof) await sessions.write(session, 'end');
      return {};
    },
    'session/resize': async ({ sandbox, branch, session, cols, rows }, client) => {
      await this.find(client, sandbox).branches.get(branch).sessions.resize(session, cols, rows);
      return {};
    },
    'session/signal': async ({ sandbox, branch, session, signal }, client) => {
      await this.find(client, sandbox).branches.get(branch).sessions.signal(session, signal);
      return {};
    },
    'session/close': async ({ sandbox, branch, session }, client) => {
      await this.find(client, sandbox).branches.get(branch).sessions.close(session);
      return {};
    },
    'session/list': async ({ sandbox, branch: id }, client) => {
      const branch = this.find(client, sandbox).branches.get(id);
      return { sessions: (await branch.sessions.list()).map((s) => toSession(branch.id, s)) };
    },
    run: async (params, client, signal) => {
      const sandbox = this.find(client, params.sandbox);
      const inShell = async (asked: Branch): Promise<{ branch: Branch; undoTo: string | null; ran: Ran }> => {
        sandbox.branches.expect(params.expect);
        // The line may take long: they can stand by when it is over.
        if (params.expect) sandbox.branches.refill();
        const undoTo = params.undoOnFail ? await sandbox.before(params.line, asked) : null;
        const branch = asked.latest;
        branch.unasked = false;
        const ran = await branch.shell.run(params.line, {
          timeoutMs: params.timeoutMs,
          signal,
          processes: () => branch.latest.pids(),
          stream: params.stream
            ? paced((data) => client.notify('run/output', { stream: params.stream!, data: data.toString('base64') }))
            : undefined,
        });
        return { branch, undoTo, ran };
      };
      const ofHead = params.branch === undefined && !params.undoOnFail;
      const asked = ofHead ? null : await sandbox.branch(params.branch);
      if (params.undoOnFail && asked?.id !== sandbox.record.head)
        throw new TeleportError(
          'invalidRequest',
          'a live fork is not taken back: only the head has an undo on failure',
          {
            hint: 'discard the fork, or run the line in the head',
          },
        );
      const { branch, undoTo, ran } = await (asked ? inShell(asked) : sandbox.inShell(inShell));
      const { exitCode, durationMs, truncated } = ran;
      const hint = whyFailed(ran, sandbox.record);
      const answer = {
        exitCode,
        output: ran.output.toString('base64'),
        truncated,
        durationMs,
        ...(hint ? { hint } : {}),
      };
      if (undoTo !== null && exitCode !== 0) {
        await sandbox.rollback(undoTo, { discard: true });
        return { ...answer, checkpoint: null, undone: true };
      }
      if (!params.checkpoint) return { ...answer, checkpoint: null, undone: false };
      const { line: command, label, note } = params;
      const { checkpoint } = await sandbox.createCheckpoint(
        { kind: 'run', command, exitCode, durationMs, label, note, hint },
        branch.latest.id,
      );
      return { ...answer, checkpoint, undone: false };
    },
    diff: async ({ sandbox, from, to, path }, client) => {
      const found = this.find(client, sandbox);
      const end = to ?? found.record.head ?? found.record.current;
      return { changes: await diffAsync(found.stack(from), found.stack(end), path ? { under: path } : {}) };
    },
    'file/stat': async ({ sandbox, at, path }, client) =>
      this.find(client, sandbox).readable(at, client.owner.uid).stat(path),
    'file/list': async ({ sandbox, at, path }, client) => ({
      entries: this.find(client, sandbox).readable(at, client.owner.uid).readdir(path),
    }),
    'file/read': async ({ sandbox, at, path, offset, length }, client) => {
      const file = this.find(client, sandbox).readable(at, client.owner.uid).open(path);
      try {
        faultPoint('fs:read');
        const data = file.read(offset, length);
        return { data: data.toString('base64'), size: file.size, eof: offset + data.length >= file.size };
      } finally {
        file.close();
      }
    },
    'file/watch': (params, client) => this.watches.add(this.find(client, params.sandbox), params, client),
    'file/unwatch': async ({ watch }, client) => {
      this.watches.remove(watch, client);
      return {};
    },
    ...fileHandlers((client, ref) => this.find(client, ref)),
    'port/list': async ({ sandbox, branch: id }, client) => {
      const branch = this.find(client, sandbox).branches.get(id);
      return { branch: branch.id, ports: portsOf(branch) };
    },
    'process/list': async ({ sandbox, branch }, client) => ({
      processes: this.find(client, sandbox).branches.get(branch).processes(),
    }),
    'gateway/open': async ({ sandbox, env }, client) => {
      const found = this.find(client, sandbox);
      found.openGateway(client, env);
      return { port: GATEWAY_PORT, used: found.record.used ?? NO_USAGE };
    },
    'gateway/close': async ({ sandbox }, client) => {
      this.find(client, sandbox).closeGateway(client);
      return {};
    },
    'gateway/write': async ({ connection, data, end }, client) => {
      await writeGateway(client, connection, Buffer.from(data, 'base64'), end);
      return {};
    },
    'gateway/used': async ({ sandbox, branch, usage }, client) => ({
      used: this.find(client, sandbox).addUsage(client, branch, usage),
    }),
    gc: (params, client) => this.gc(params, client),
  };

  /**
   * Before the machine goes down: every running sandbox is saved and ended, all at once. What does not end by itself would
   * hold the machine up: systemd waits a minute and a half for processes that don't hear a signal, as frozen ones.
   */
  async restAll(patienceMs: number): Promise<void> {
    const rest = async ([id, sandbox]: [string, Sandbox]): Promise<void> => {
      if (sandbox.info().state !== 'running') return;
      await sandbox.stop({ discard: false }).catch((error: Error) => {
        this.options.log(`${id}: not saved: ${error.message}`);
        return sandbox.stop({ discard: true });
      });
    };
    const all = Promise.allSettled([...this.sandboxes].map(rest));
    const over = new AbortController();
    await Promise.race([all, sleep(patienceMs, undefined, { signal: over.signal }).catch(() => {})]);
    over.abort();
    for (const name of this.groups()) await this.groupOf(name).end();
  }

  /** Before the helper ends: resolves when nothing is under way in the background. */
  async settle(): Promise<void> {
    for (const sandbox of this.sandboxes.values()) {
      await sandbox.state.idle();
      await sandbox.branches.letGo();
    }
  }
}

function toSession(
  branch: string,
  s: { id: string; kind: string; running: boolean; exitCode: number },
): Result<'session/attach'>['session'] {
  const kind = s.id === 'x0' ? 'shell' : s.kind === 'terminal' || s.kind === 'dial' ? s.kind : 'process';
  return { id: s.id, branch, kind, title: kind, running: s.running, exitCode: s.running ? null : s.exitCode };
}

/** @returns bytes freed; null where it came to be needed meanwhile, by a fork or a rollback, or somebody else deleted it: then it is let be */
async function deletedNow(sandbox: Sandbox, checkpoint: string): Promise<number | null> {
  try {
    return await sandbox.delete(checkpoint);
  } catch (error) {
    if (error instanceof TeleportError && ['checkpointInUse', 'unknownCheckpoint'].includes(error.code)) return null;
    throw error;
  }
}

/** A host name may hold letters, digits and hyphens, 63 at most (RFC 1123). */
function hostLabel(name: string): string {
  const label = name
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-+|-+$/g, '')
    .slice(0, 40);
  return label || hostname().slice(0, 40);
}

/** Moves the head; where it is asked for, the answer waits until nothing of the old one is left, and tells those steps too. */
async function leaving(
  sandbox: Sandbox,
  untilGone: boolean,
  move: () => Promise<Result<'checkpoint/rollback'>>,
): Promise<Result<'checkpoint/rollback'>> {
  const old = untilGone && sandbox.record.head !== null ? sandbox.branches.get() : undefined;
  const moved = await move();
  if (!old) return moved;
  const { all } = await old.gone('it was rolled back');
  return { ...moved, steps: [...moved.steps, ...all] };
}
