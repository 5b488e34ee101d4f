/** Small questions to a sandbox that both stories ask. */
import { setTimeout as sleep } from 'node:timers/promises';
import { readWhole, remotePlace } from '../../client/apply/place.ts';
import { TeleportError } from '../../protocol/errors.ts';
import type { Process } from '../../protocol/model.ts';
import type { Stage } from '../demo.ts';

/** A file's text at a checkpoint or in a branch; null where there is none. */
export async function textOf({ helper, sandbox, workspace }: Stage, at: string, name: string): Promise<string | null> {
  try {
    return (await readWhole(remotePlace(helper, sandbox, at), `${workspace}/${name}`)).toString();
  } catch (error) {
    if (error instanceof TeleportError && error.code === 'unknownPath') return null;
    throw error;
  }
}

export async function headOf({ helper, sandbox }: Stage): Promise<string> {
  const answer = await helper.request('sandbox/get', { sandbox });
  return answer.sandbox.head ?? answer.sandbox.current;
}

export async function findProcess({ helper, sandbox }: Stage, part: string): Promise<Process | undefined> {
  const { processes } = await helper.request('process/list', { sandbox });
  return processes.find(({ command, state }) => command.includes(part) && state !== 'Z');
}

/** A line in the sandbox's shell, without a checkpoint after it. */
export async function runLine({ helper, sandbox }: Stage, line: string): Promise<{ exitCode: number; output: string }> {
  const { exitCode, output } = await helper.request('run', { sandbox, line, checkpoint: false });
  return { exitCode, output: Buffer.from(output, 'base64').toString() };
}

/** Asks again until it is so. False: not within the time. */
export async function until(so: () => Promise<boolean>, ms = 10_000): Promise<boolean> {
  for (const deadline = Date.now() + ms; Date.now() < deadline; await sleep(10)) if (await so()) return true;
  return false;
}
