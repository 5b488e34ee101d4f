/** Where an agent outside last knew its sandbox to be, from one of its commands to the next: each is a process of its own. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Checkpoint } from '../../protocol/model.ts';

function fileOf(env: NodeJS.ProcessEnv, sandbox: string): string {
  const state = env.XDG_STATE_HOME || join(env.HOME ?? '/tmp', '.local/state');
  return join(state, 'teleport-env/agents', sandbox);
}

export function knownCheckpoint(env: NodeJS.ProcessEnv, sandbox: string): string | null {
  try {
    return readFileSync(fileOf(env, sandbox), 'utf8').trim();
  } catch {
    return null; // it has not run anything yet
  }
}

export function rememberCheckpoint(env: NodeJS.ProcessEnv, sandbox: string, checkpoint: string): void {
  const file = fileOf(env, sandbox);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `${checkpoint}\n`, { mode: 0o600 });
}

/** What was known is not on the way to where the sandbox is now: somebody took it back. */
export function wasRolledBack(
  checkpoints: readonly Pick<Checkpoint, 'id' | 'parent'>[],
  known: string,
  current: string,
): boolean {
  const parents = new Map(checkpoints.map(({ id, parent }) => [id, parent]));
  for (let at: string | null | undefined = current; at; at = parents.get(at)) if (at === known) return false;
  return true;
}
