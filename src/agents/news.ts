/** What an agent outside of the sandbox has to be told: that somebody else took the sandbox back. */
import { rolledBackNews } from '../../helper/protocol/agent-news.ts';
import type { NotificationParams } from '../../helper/protocol/methods.ts';
import type { Checkpoint } from '../../helper/protocol/model.ts';

type Moved = NotificationParams<'head/moved'>;
/** The notification of a move comes at most that long after the answer to who asked for it. Milliseconds. */
const AFTER_ANSWER_MS = 100;

export class News {
  private readonly moved = new Map<string, Moved>();
  private working = 0;

  heard(moved: Moved): void {
    if (this.working === 0 && ['rollback', 'undo', 'promote'].includes(moved.cause))
      this.moved.set(moved.sandbox, moved);
  }

  /** Moves meanwhile are the agent's own. */
  async own<T>(work: () => Promise<T>): Promise<T> {
    this.working++;
    try {
      return await work();
    } finally {
      setTimeout(() => this.working--, AFTER_ANSWER_MS);
    }
  }

  /** Said once. */
  since(sandbox: string, checkpoint: (id: string) => Checkpoint | undefined): string | undefined {
    const moved = this.moved.get(sandbox);
    if (!moved) return undefined;
    this.moved.delete(sandbox);
    return rolledBackNews(checkpoint(moved.checkpoint) ?? { id: moved.checkpoint }, moved.saved);
  }
}
