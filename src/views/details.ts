import type { Disposable } from 'vscode';
import type { Port } from '../../helper/protocol/model.ts';
import type { Ask } from '../connection/helper.ts';
import { forwardKey, type Inside } from '../ports/inside.ts';
import { Signal } from '../signal.ts';
import type { Details as Known } from './sandboxes-model.ts';
import type { Store, StoreChange } from './store.ts';

type What = 'changes' | 'processes' | 'ports';
const SETTLE_MS = 150;

/** Files changed and processes of a branch: asked for when a view wants them, again when something happened there. */
export class Details implements Disposable {
  private readonly known = new Map<string, { -readonly [K in keyof Known]: Known[K] }>();
  private readonly wanted = new Map<string, Set<What>>();
  private readonly waiting = new Map<string, NodeJS.Timeout>();
  private readonly forwards = new Map<string, number>();
  private readonly signal = new Signal<{ sandbox: string; branch: string }>();
  private readonly listening: Disposable;
  private disposed = false;

  readonly onDidChange = this.signal.listen;

  constructor(
    private readonly ask: Ask,
    private readonly store: Store,
  ) {
    this.listening = store.onDidChange((change) => this.storeChanged(change));
  }

  get(sandbox: string, branch: string): Known | undefined {
    return this.known.get(`${sandbox}/${branch}`);
  }

  /** From now on kept fresh. Comes back when it is known for the first time, or can't be known. */
  async want(sandbox: string, branch: string, what: What): Promise<void> {
    const key = `${sandbox}/${branch}`;
    const wanted = this.wanted.get(key) ?? new Set();
    this.wanted.set(key, wanted.add(what));
    if (!this.known.get(key)?.[what]) await this.fetch(sandbox, branch, what);
  }

  /** Told by the helper itself. */
  setPorts(sandbox: string, branch: string, ports: readonly Port[]): void {
    this.know(sandbox, branch, { ports });
  }

  /** Where a port is on this machine, once it was asked for. */
  forward(sandbox: string, branch: string, port: number): number | undefined {
    return this.forwards.get(forwardKey({ sandbox, branch: this.asAsked(sandbox, branch), port }));
  }

  /** `local` undefined: not any more. */
  setForward(inside: Inside, local: number | undefined): void {
    if (local === undefined) this.forwards.delete(forwardKey(inside));
    else this.forwards.set(forwardKey(inside), local);
    const branch = inside.branch ?? this.store.sandbox(inside.sandbox)?.head;
    if (branch) this.signal.emit({ sandbox: inside.sandbox, branch });
  }

  /** The head's is asked for without a name: it follows the head, wherever it goes. */
  private asAsked(sandbox: string, branch: string): string | undefined {
    return branch === this.store.sandbox(sandbox)?.head ? undefined : branch;
  }

  refresh(sandbox: string): void {
    for (const [id, branch] of this.keys) {
      if (id !== sandbox) continue;
      const key = `${id}/${branch}`;
      const wanted = this.wanted.get(key)!;
      clearTimeout(this.waiting.get(key));
      if (!this.store.sandbox(id)?.branches.some((b) => b.id === branch)) {
        this.wanted.delete(key);
        this.known.delete(key);
        this.waiting.delete(key);
        continue;
      }
      const again = () => {
        this.waiting.delete(key);
        for (const what of wanted) void this.fetch(id, branch, what);
      };
      this.waiting.set(key, setTimeout(again, SETTLE_MS));
    }
  }

  dispose(): void {
    this.disposed = true;
    this.listening.dispose();
    for (const timer of this.waiting.values()) clearTimeout(timer);
  }

  private get keys(): [sandbox: string, branch: string][] {
    return [...this.wanted.keys()].map((key) => key.split('/') as [string, string]);
  }

  private storeChanged(change: StoreChange): void {
    // One that is gone, too: nothing more is asked about it.
    if (change.kind === 'sandboxes') for (const id of new Set(this.keys.map(([id]) => id))) this.refresh(id);
    else if (change.kind === 'sandbox' || change.kind === 'timeline') this.refresh(change.sandbox);
  }

  private async fetch(sandbox: string, branch: string, what: What): Promise<void> {
    const key = `${sandbox}/${branch}`;
    const from = this.store.sandbox(sandbox)?.branches.find((b) => b.id === branch)?.checkpoint;
    try {
      const found = await this.question(sandbox, branch, from, what);
      if (!this.disposed && this.wanted.has(key)) this.know(sandbox, branch, found);
    } catch {
      // A branch may be gone by now, or the helper; both say so elsewhere. What we knew before stays.
    }
  }

  private async question(sandbox: string, branch: string, from: string | undefined, what: What): Promise<Known> {
    switch (what) {
      case 'processes':
        return { processes: (await this.ask('process/list', { sandbox, branch })).processes };
      case 'ports':
        return { ports: (await this.ask('port/list', { sandbox, branch })).ports };
      case 'changes':
        return from ? { changes: (await this.ask('diff', { sandbox, from, to: branch })).changes } : {};
    }
  }

  private know(sandbox: string, branch: string, found: Known): void {
    const key = `${sandbox}/${branch}`;
    this.known.set(key, { ...this.known.get(key), ...found });
    this.signal.emit({ sandbox, branch });
  }
}
