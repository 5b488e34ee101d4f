/**
 * What was applied to a folder, path by path, kept with the user's own files.
 *
 * A later apply compares with it: what the user changed since is a conflict, what only the sandbox changed is not, and
 * what a rollback took away is taken away again. Without it (it was lost, another machine) all is compared with what the
 * sandbox started from, which only finds more conflicts.
 */
import { createHash, randomUUID } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import * as z from 'zod';
import type { Sandbox } from '../../protocol/model.ts';
import type { Snapshot } from './facts.ts';

/** By path below the folder; null: deleted. */
export type Applied = Map<string, Snapshot | null>;

const Entry = z.object({
  type: z.enum(['file', 'folder', 'symlink', 'other']),
  key: z.string(),
  mode: z.number().int(),
  size: z.number(),
});
const RecordFile = z.object({
  /** Ids are given anew once the helper's volume is: the moment of creation tells them apart. */
  sandbox: z.object({ id: z.string(), createdAt: z.string() }),
  dir: z.string(),
  paths: z.record(z.string(), Entry.nullable()),
});

/** Where something is kept about a sandbox and a folder, with the user's own files. */
export function stateFile(kind: string, sandbox: Sandbox, dir: string, env: NodeJS.ProcessEnv): string {
  const name = createHash('sha256').update(`${sandbox.id} ${sandbox.createdAt} ${dir}`).digest('hex').slice(0, 32);
  const state = env.XDG_STATE_HOME || join(env.HOME || homedir(), '.local/state');
  return join(state, 'teleport-env', kind, `${name}.json`);
}

export async function readApplied(sandbox: Sandbox, dir: string, env: NodeJS.ProcessEnv): Promise<Applied> {
  try {
    const { paths } = RecordFile.parse(JSON.parse(await readFile(stateFile('applied', sandbox, dir, env), 'utf8')));
    return new Map(Object.entries(paths));
  } catch {
    return new Map();
  }
}

export async function writeApplied(
  sandbox: Sandbox,
  dir: string,
  applied: Applied,
  env: NodeJS.ProcessEnv,
): Promise<void> {
  const file = stateFile('applied', sandbox, dir, env);
  const content: z.infer<typeof RecordFile> = {
    sandbox: { id: sandbox.id, createdAt: sandbox.createdAt },
    dir,
    paths: Object.fromEntries([...applied].map(([path, entry]) => [path, entry && Entry.parse(entry)])),
  };
  await writeState(file, content);
}

/** Whole or not at all. */
export async function writeState(file: string, content: object): Promise<void> {
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  const beside = `${file}.${randomUUID()}`;
  await writeFile(beside, JSON.stringify(content), { mode: 0o600 });
  await rename(beside, file);
}
