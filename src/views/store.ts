import type { NotificationName, NotificationParams } from '../../helper/protocol/methods.ts';
import type { Checkpoint, Sandbox } from '../../helper/protocol/model.ts';
import { Signal } from '../signal.ts';

/** What the helper told about one sandbox's checkpoints: the newest ones, as far back as somebody asked. */
export interface Timeline {
  /** Newest first. */
  readonly checkpoints: readonly Checkpoint[];
  /** There are older ones. */
  readonly more: boolean;
  readonly current: string;
}

export type StoreChange =
  /** Everything, or which sandboxes there are. */
  | { readonly kind: 'sandboxes' }
  | { readonly kind: 'sandbox'; readonly sandbox: string }
  /** Which entries there are, or where the head is. */
  | { readonly kind: 'timeline'; readonly sandbox: string }
  /** One entry's content. */
  | { readonly kind: 'entry'; readonly sandbox: string; readonly checkpoint: string }
  | { readonly kind: 'shown' };

/**
 * A cache of what the helper told and nothing else: no file, no command, no opinion. Feeding it the same messages makes
 * the same views, in whatever order they come.
 */
export class Store {
  private readonly byId = new Map<string, Sandbox>();
  private readonly timelines = new Map<string, Timeline>();
  /** What was told to be gone since the last whole list: ids are given once, so news of it that come later are old. */
  private readonly gone = new Set<string>();
  private shownId: string | undefined;
  private readonly signal = new Signal<StoreChange>();

  readonly onDidChange = this.signal.listen;

  get sandboxes(): readonly Sandbox[] {
    return [...this.byId.values()].sort((a, b) => numberOf(a.id) - numberOf(b.id));
  }

  sandbox(id: string): Sandbox | undefined {
    return this.byId.get(id);
  }

  /** The one that the timeline and the status bar show. */
  get shown(): Sandbox | undefined {
    return this.shownId === undefined ? undefined : this.byId.get(this.shownId);
  }

  show(id: string | undefined): void {
    if (this.shownId === id) return;
    this.shownId = id;
    this.signal.emit({ kind: 'shown' });
  }

  timeline(sandbox: string): Timeline | undefined {
    return this.timelines.get(sandbox);
  }

  checkpoint(sandbox: string, id: string): Checkpoint | undefined {
    return this.timelines.get(sandbox)?.checkpoints.find((c) => c.id === id);
  }

  /** A whole list: what isn't in it is gone. */
  setSandboxes(sandboxes: readonly Sandbox[]): void {
    this.byId.clear();
    this.gone.clear();
    for (const sandbox of sandboxes) this.byId.set(sandbox.id, sandbox);
    for (const id of this.timelines.keys()) if (!this.byId.has(id)) this.timelines.delete(id);
    this.signal.emit({ kind: 'sandboxes' });
  }

  setTimeline(sandbox: string, timeline: Timeline): void {
    const { checkpoints } = timeline;
    const isGone = ({ id }: Checkpoint) => this.gone.has(`${sandbox}/${id}`);
    this.timelines.set(
      sandbox,
      checkpoints.some(isGone) ? { ...timeline, checkpoints: checkpoints.filter((c) => !isGone(c)) } : timeline,
    );
    this.signal.emit({ kind: 'timeline', sandbox });
  }

  /** The next older ones. */
  addOlder(sandbox: string, older: readonly Checkpoint[], more: boolean): void {
    const timeline = this.timelines.get(sandbox);
    if (!timeline) return;
    this.setTimeline(sandbox, { ...timeline, checkpoints: merged(timeline.checkpoints, older), more });
  }

  take<N extends NotificationName>(name: N, params: NotificationParams<N>): void {
    HANDLERS[name as keyof typeof HANDLERS]?.(this, params as never);
  }

  sandboxChanged(sandbox: Sandbox): void {
    if (this.gone.has(sandbox.id)) return;
    const known = this.byId.get(sandbox.id);
    this.byId.set(sandbox.id, sandbox);
    this.signal.emit(known ? { kind: 'sandbox', sandbox: sandbox.id } : { kind: 'sandboxes' });
    this.headAt(sandbox.id, sandbox.current);
  }

  sandboxRemoved(id: string): void {
    this.gone.add(id);
    this.timelines.delete(id);
    if (this.byId.delete(id)) this.signal.emit({ kind: 'sandboxes' });
    if (this.shownId === id) this.show(undefined);
  }

  checkpointSeen(sandbox: string, checkpoint: Checkpoint): void {
    const timeline = this.timelines.get(sandbox);
    if (!timeline || this.gone.has(`${sandbox}/${checkpoint.id}`)) return;
    const at = timeline.checkpoints.findIndex((c) => c.id === checkpoint.id);
    if (at >= 0) {
      const checkpoints = timeline.checkpoints.with(at, checkpoint);
      this.timelines.set(sandbox, { ...timeline, checkpoints });
      this.signal.emit({ kind: 'entry', sandbox, checkpoint: checkpoint.id });
      return;
    }
    const oldest = timeline.checkpoints.at(-1);
    // Older than what is shown: it comes with its page.
    if (oldest && timeline.more && numberOf(checkpoint.id) < numberOf(oldest.id)) return;
    this.setTimeline(sandbox, { ...timeline, checkpoints: merged(timeline.checkpoints, [checkpoint]) });
  }

  checkpointRemoved(sandbox: string, id: string): void {
    this.gone.add(`${sandbox}/${id}`);
    const timeline = this.timelines.get(sandbox);
    if (!timeline?.checkpoints.some((c) => c.id === id)) return;
    this.setTimeline(sandbox, { ...timeline, checkpoints: timeline.checkpoints.filter((c) => c.id !== id) });
  }

  headAt(sandbox: string, current: string): void {
    const timeline = this.timelines.get(sandbox);
    if (!timeline || timeline.current === current) return;
    this.setTimeline(sandbox, { ...timeline, current });
  }
}

type Handlers = { [N in NotificationName]?: (store: Store, params: NotificationParams<N>) => void };
const HANDLERS: Handlers = {
  'sandbox/changed': (store, { sandbox }) => store.sandboxChanged(sandbox),
  'sandbox/removed': (store, { sandbox }) => store.sandboxRemoved(sandbox),
  'checkpoint/added': (store, { sandbox, checkpoint }) => store.checkpointSeen(sandbox, checkpoint),
  'checkpoint/changed': (store, { sandbox, checkpoint }) => store.checkpointSeen(sandbox, checkpoint),
  'checkpoint/removed': (store, { sandbox, checkpoint }) => store.checkpointRemoved(sandbox, checkpoint),
  'head/moved': (store, { sandbox, checkpoint }) => store.headAt(sandbox, checkpoint),
};
/** What the store wants to hear. */
export const STORED = Object.keys(HANDLERS) as (keyof typeof HANDLERS)[];

/** An id's number: ids of one kind grow with time. */
export function numberOf(id: string): number {
  return Number(id.slice(1));
}

function merged(a: readonly Checkpoint[], b: readonly Checkpoint[]): Checkpoint[] {
  const all = new Map([...a, ...b].map((c) => [c.id, c]));
  return [...all.values()].sort((x, y) => numberOf(y.id) - numberOf(x.id));
}
