/** What an agent outside of the sandbox has to be told: that somebody else took the sandbox back. */
import { rolledBackNews } from '../../helper/protocol/agent-news.ts';
import type { NotificationParams } from '../../helper/protocol/methods.ts';
import type { Checkpoint } from '../../helper/protocol/model.ts';

type Moved = NotificationParams<'head/moved'>;

export class News {
  private readonly moved = new Map<string, Moved>();
  /** Heads that the agent moved to itself: whether the answer or the notification comes first is not said. */
  private readonly heads = new Set<string>();
  private working = 0;

  heard(moved: Moved): void {
    const { sandbox, head, cause } = moved;
    const isByHand = ['rollback', 'undo', 'promote'].includes(cause);
    if (isByHand && this.working === 0 && !this.heads.has(`${sandbox} ${head}`)) this.moved.set(sandbox, moved);
  }

  /** Moves meanwhile are the agent's own. */
  async own<T>(work: () => Promise<T>): Promise<T> {
    this.working++;
    try {
      return await work();
    } finally {
      this.working--;
    }
  }

  /** The agent moved there: what is heard of that later is no news either. */
  expected(sandbox: string, head: string | null): void {
    this.heads.add(`${sandbox} ${head}`);
    if (this.moved.get(sandbox)?.head === head) this.moved.delete(sandbox);
  }

  /** Said once. */
  since(sandbox: string, checkpoint: (id: string) => Checkpoint | undefined): string | undefined {
    const moved = this.moved.get(sandbox);
    if (!moved) return undefined;
    this.moved.delete(sandbox);
    return rolledBackNews(checkpoint(moved.checkpoint) ?? { id: moved.checkpoint }, moved.saved);
  }
}
