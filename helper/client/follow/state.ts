/** What is remembered of a folder that follows a sandbox, with the user's own files: a window may close at any moment. */
import { readFile } from 'node:fs/promises';
import * as z from 'zod';
import { FollowConflict } from '../../protocol/bridge.ts';
import type { Sandbox } from '../../protocol/model.ts';
import { stateFile, writeState } from '../apply/record.ts';

const State = z.object({
  on: z.boolean(),
  /** The folder has this checkpoint's files, but for the conflicts. */
  at: z.string().nullable(),
  /** The branch that was the head then: another one now means that the sandbox went somewhere. */
  head: z.string().nullable(),
  /** Paths that both have as they are nowhere in `at`: saved into the head since. */
  beyond: z.array(z.string()),
  /** Saved while the sandbox did not run: still to enter. */
  waiting: z.array(z.string()),
  conflicts: z.array(FollowConflict),
});
export type State = z.infer<typeof State>;

const OFF: State = { on: false, at: null, head: null, beyond: [], waiting: [], conflicts: [] };

/** Lost or damaged: as if it had never followed. All is then compared with what the sandbox started from. */
export async function readState(sandbox: Sandbox, dir: string, env: NodeJS.ProcessEnv): Promise<State> {
  try {
    return State.parse(JSON.parse(await readFile(stateFile('follow', sandbox, dir, env), 'utf8')));
  } catch {
    return OFF;
  }
}

export async function saveState(sandbox: Sandbox, dir: string, state: State, env: NodeJS.ProcessEnv): Promise<void> {
  await writeState(stateFile('follow', sandbox, dir, env), state);
}
