/** What of its sandbox a request from inside comes to. */
import { agentById } from '../../protocol/agents.ts';
import type { TeleportError } from '../../protocol/errors.ts';
import type { HeadMoved, NotificationParams } from '../../protocol/methods.ts';
import type { Checkpoint } from '../../protocol/model.ts';
import type { Branch } from '../branch.ts';

interface Words {
  kind: Checkpoint['kind'];
  label?: string | null;
  command?: string;
  exitCode?: number;
  note?: string;
}

export interface House {
  readonly record: { id: string; name: string; workspace: string; head: string | null };
  readonly state: {
    readonly layout: { dir: string };
    tell(name: 'step/failed', params: NotificationParams<'step/failed'>): void;
  };
  readonly catalogue: { list(): Checkpoint[]; checkpoint(id: string): Checkpoint };
  readonly branches: { expect(checkpoints: string[] | undefined): void };
  createCheckpoint(words: Words, branch: string): Promise<{ checkpoint: Checkpoint }>;
  createCheckpointAfter(last: string, words: Words, branch: string): Promise<{ checkpoint: Checkpoint } | null>;
  rollback(checkpoint: string, options: { discard: boolean }): Promise<HeadMoved>;
  changed(): void;
}

export function nameOf(agent: string): string {
  return agentById(agent)?.name ?? agent.slice(0, 60);
}

/** Of a step that could not be kept the agent learns nothing; the user must. */
export function tellLost(house: House, branch: Branch, agent: string, error: unknown): void {
  if (branch.over) return; // it was rolled back or ended meanwhile: nothing is lost
  const { message, hint } = error as TeleportError;
  house.state.tell('step/failed', { sandbox: house.record.id, branch: branch.id, agent, message, hint });
}
