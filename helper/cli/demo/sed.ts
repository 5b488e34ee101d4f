import type { Process } from '../../protocol/model.ts';
import type { Stage } from '../demo.ts';
import { duration } from '../text.ts';
import type { Attempt, Candidates } from './candidates.ts';
import { findProcess, headOf, runLine, textOf, until } from './inside.ts';

const BACKGROUND = 'sleep 86400';
const UNTOUCHED = 'ignore_me.txt';

/** Commands are tried one by one; after each bad one everything is taken back, until one does what was asked. */
export async function sedStory(stage: Stage, candidates: Candidates): Promise<void> {
  const { helper, sandbox, report } = stage;
  await runLine(stage, `${BACKGROUND} &`);
  let background: Process | undefined;
  await until(async () => {
    background = await findProcess(stage, BACKGROUND);
    return background !== undefined;
  });
  await report.check('a background process lives', background !== undefined);
  const { checkpoint } = await helper.request('checkpoint/create', { sandbox, label: 'before trying' });
  report.took('checkpoint, stopped', checkpoint.stoppedMs);
  report.took('checkpoint, whole', checkpoint.totalMs);
  const before = await files(stage, checkpoint.id);

  const attempts: Attempt[] = [];
  for (let command = await candidates(attempts); command !== null; command = await candidates(attempts)) {
    const { exitCode } = await runLine(stage, command);
    const reward = rewardOf(await files(stage, await headOf(stage)), before);
    attempts.push({ command, exitCode, reward });
    await report.tell(`${command}  →  reward ${reward.toFixed(2)}`);
    if (reward === 1) break;
    const moved = await helper.request('checkpoint/rollback', { sandbox, checkpoint: checkpoint.id, discard: true });
    report.took(`rollback, ${moved.path}`, moved.rollbackMs);
    await report.tell(`back in ${duration(moved.rollbackMs)} (${moved.path})`);
    const after = await files(stage, moved.head);
    const same = [...before].every(([name, content]) => after.get(name) === content) && after.size === before.size;
    await report.check('every file is as it was', same);
    const alive = await findProcess(stage, BACKGROUND);
    await report.check('the background process lives, under the same id', alive?.pid === background?.pid);
  }
  const last = attempts.at(-1);
  await report.check(`solved after ${attempts.length} tries`, last?.reward === 1, 'no command earned the whole reward');
}

/** Half for the configuration files, half for what had to stay. */
export function rewardOf(now: Map<string, string>, before: Map<string, string>): number {
  const configs = [...before.keys()].filter((name) => name !== UNTOUCHED);
  const right = configs.filter((name) => now.get(name) === before.get(name)!.replace('v1', 'v2'));
  const strangers = [...now.keys()].some((name) => !before.has(name));
  const kept = now.get(UNTOUCHED) === before.get(UNTOUCHED) && !strangers;
  return (0.5 * right.length) / configs.length + (kept ? 0.5 : 0);
}

async function files(stage: Stage, at: string): Promise<Map<string, string>> {
  const { helper, sandbox, workspace } = stage;
  const { entries } = await helper.request('file/list', { sandbox, at, path: workspace });
  const contents = new Map<string, string>();
  for (const { name, stat } of entries)
    if (stat.type === 'file') contents.set(name, (await textOf(stage, at, name)) ?? '');
  return contents;
}
