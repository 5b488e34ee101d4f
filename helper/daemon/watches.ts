/**
 * Who wants to hear of changes in the files of which branch. One watching program a branch, only while somebody listens;
 * a watch of the head goes where the head goes, and is told what that changed.
 */
import { close } from '../engine/at.ts';
import { diffAsync } from '../engine/diff.ts';
import { openBranchRoot } from '../engine/inside.ts';
import { BranchWatch, type FileEvent } from '../engine/watch.ts';
import type { NotificationName, NotificationParams, Parsed, Result } from '../protocol/methods.ts';
import type { Change } from '../protocol/model.ts';
import type { Client } from './client.ts';
import type { Sandbox } from './sandbox.ts';

/** Events come in bursts: that long they are gathered. */
const GATHER_MS = 30;
/** More are not told one by one. */
const MOST = 2000;

interface Watch {
  readonly id: string;
  readonly client: Client;
  readonly sandbox: Sandbox;
  /** Undefined: the head. */
  readonly branch: string | undefined;
  readonly path: string;
  readonly found: Map<string, FileEvent['kind']>;
  more: boolean;
  timer: NodeJS.Timeout | null;
}

interface Source {
  readonly sandbox: Sandbox;
  readonly branch: string;
  readonly watch: BranchWatch;
}

export class Watches {
  private readonly init: string;
  private readonly log: (text: string) => void;
  private readonly watches = new Map<string, Watch>();
  private readonly sources = new Map<string, Source>();
  private next = 1;

  constructor(init: string, log: (text: string) => void) {
    this.init = init;
    this.log = log;
  }

  /** @throws TeleportError `unknownBranch`, `notRunning` */
  async add(sandbox: Sandbox, params: Parsed<'file/watch'>, client: Client): Promise<Result<'file/watch'>> {
    if (params.branch !== undefined) sandbox.branches.get(params.branch);
    const id = `w${this.next++}`;
    const path = params.path.replace(/\/+$/, '') || '/';
    const { branch } = params;
    this.watches.set(id, { id, client, sandbox, branch, path, found: new Map(), more: false, timer: null });
    client.onLeave(() => this.remove(id, client));
    const source = this.settle(sandbox);
    return { watch: id, live: (await source.get(branch ?? sandbox.record.head ?? '')?.ready) ?? false };
  }

  remove(id: string, client: Client): void {
    const watch = this.watches.get(id);
    if (watch?.client !== client) return;
    this.watches.delete(id);
    clearTimeout(watch.timer ?? undefined);
    this.settle(watch.sandbox);
  }

  /** What the sandboxes tell their clients, which moves a head or ends a branch. */
  heard<N extends NotificationName>(sandbox: Sandbox, name: N, params: NotificationParams<N>): void {
    if (![...this.watches.values()].some((watch) => watch.sandbox === sandbox)) return;
    if (name === 'head/moved') {
      this.settle(sandbox);
      this.guarded(sandbox, this.headMoved(sandbox, params as NotificationParams<'head/moved'>));
    } else if (name === 'sandbox/changed') this.settle(sandbox);
    else if (name === 'sandbox/removed') {
      for (const { id, sandbox: its, client } of this.watches.values()) if (its === sandbox) this.remove(id, client);
    } else if (name === 'checkpoint/added')
      this.guarded(sandbox, this.atCheckpoint(sandbox, params as NotificationParams<'checkpoint/added'>));
  }

  private guarded(sandbox: Sandbox, work: Promise<void>): void {
    work.catch((error) => this.log(`${sandbox.record.id}: telling of changed files: ${(error as Error).message}`));
  }

  /** Starts and ends watching programs, so that there is one for each branch that somebody watches. */
  private settle(sandbox: Sandbox): Map<string, BranchWatch> {
    const wanted = new Set<string>();
    for (const watch of this.watches.values())
      if (watch.sandbox === sandbox) wanted.add(watch.branch ?? sandbox.record.head ?? '');
    const running = new Map<string, BranchWatch>();
    for (const [key, source] of this.sources) {
      if (source.sandbox !== sandbox) continue;
      if (wanted.has(source.branch) && sandbox.branches.live.has(source.branch)) {
        running.set(source.branch, source.watch);
        continue;
      }
      source.watch.stop();
      this.sources.delete(key);
    }
    for (const branch of wanted) {
      const live = sandbox.branches.live.get(branch)?.live;
      if (!live || running.has(branch)) continue;
      try {
        const watch = this.begin(sandbox, branch, openBranchRoot(live.pid, live.startTime));
        running.set(branch, watch);
        this.sources.set(`${sandbox.record.id}/${branch}`, { sandbox, branch, watch });
      } catch (error) {
        this.log(`${sandbox.record.id}/${branch}: not watched: ${(error as Error).message}`);
      }
    }
    return running;
  }

  private begin(sandbox: Sandbox, branch: string, root: number): BranchWatch {
    try {
      return new BranchWatch(this.init, root, (events, missed) => {
        for (const watch of this.watches.values())
          if (watch.sandbox === sandbox && (watch.branch ?? sandbox.record.head) === branch)
            this.take(watch, events, missed);
      });
    } finally {
      close(root);
    }
  }

  private take(watch: Watch, events: FileEvent[], missed: boolean): void {
    for (const { path, kind } of events) {
      if (!isWithin(watch.path, path)) continue;
      // Made and written is made; made and removed may have been there before.
      if (kind !== 'changed' || watch.found.get(path) !== 'created') watch.found.set(path, kind);
    }
    watch.more ||= missed || watch.found.size > MOST;
    if (watch.found.size > MOST) watch.found.clear();
    if (!watch.found.size && !watch.more) return;
    watch.timer ??= setTimeout(() => this.flush(watch), GATHER_MS);
  }

  private flush(watch: Watch): void {
    const changes = [...watch.found].map(([path, kind]) => ({ path, kind }));
    const { more, id } = watch;
    watch.found.clear();
    watch.more = false;
    watch.timer = null;
    void watch.client.notify('files/changed', { sandbox: watch.sandbox.record.id, watch: id, changes, more });
  }

  private async headMoved(sandbox: Sandbox, moved: NotificationParams<'head/moved'>): Promise<void> {
    const { cause, saved, checkpoint, head } = moved;
    if (cause === 'rotate' || cause === 'start') return;
    const to = cause === 'promote' ? head : checkpoint;
    for (const watch of this.watches.values()) {
      if (watch.sandbox !== sandbox || watch.branch !== undefined) continue;
      // What was discarded nobody can look at any more.
      if (saved === null) this.take(watch, [], true);
      else await this.tellDifference(watch, saved, to);
    }
  }

  /** Where the kernel can't tell, a checkpoint does. */
  private async atCheckpoint(sandbox: Sandbox, { checkpoint }: NotificationParams<'checkpoint/added'>): Promise<void> {
    for (const watch of this.watches.values()) {
      if (watch.sandbox !== sandbox || watch.branch !== undefined || checkpoint.kind === 'saved') continue;
      const source = this.sources.get(`${sandbox.record.id}/${sandbox.record.head}`);
      if (!checkpoint.parent || (await source?.watch.ready)) continue;
      await this.tellDifference(watch, checkpoint.parent, checkpoint.id);
    }
  }

  private async tellDifference(watch: Watch, from: string, to: string): Promise<void> {
    const { sandbox, path } = watch;
    const changes = await diffAsync(sandbox.stack(from), sandbox.stack(to), { under: path });
    this.take(watch, changes.flatMap(toEvents), false);
  }
}

function toEvents({ path, kind, from }: Change): FileEvent[] {
  if (kind === 'deleted') return [{ path, kind }];
  if (kind === 'added' || kind === 'renamed')
    return [...(from === undefined ? [] : [{ path: from, kind: 'deleted' as const }]), { path, kind: 'created' }];
  return [{ path, kind: 'changed' }];
}

function isWithin(folder: string, path: string): boolean {
  return folder === '/' || path === folder || path.startsWith(`${folder}/`);
}
