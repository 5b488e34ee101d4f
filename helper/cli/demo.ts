/** The demonstration: two short stories with the real helper, what was checked in them, and how long things took. */
import { chown, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Connection } from '../client/connection.ts';
import type { Context } from './context.ts';
import { candidatesFrom, scripted } from './demo/candidates.ts';
import { counterStory } from './demo/counter.ts';
import { Report } from './demo/report.ts';
import { sedStory } from './demo/sed.ts';
import { insideEnv } from './environment.ts';

export interface DemoOptions {
  baseUrl?: string;
  model?: string;
}

/** What a story works with. */
export interface Stage {
  helper: Connection;
  report: Report;
  sandbox: string;
  /** The folder that the sandbox was made of: same path inside. */
  workspace: string;
}

type Story = (stage: Stage) => Promise<void>;

const DEFAULT_MODEL = 'qwen-2.5-coder-32b-instruct';

/** Exit code 1 where a check fails. */
export async function demo(ctx: Context, options: DemoOptions): Promise<void> {
  const report = new Report(ctx);
  const helper = await ctx.helper();
  const { baseUrl, model = DEFAULT_MODEL } = options;
  const candidates =
    baseUrl === undefined ? scripted() : candidatesFrom({ baseUrl, model, key: ctx.io.env.OPENAI_API_KEY });
  await report.title('A counter, killed and brought back');
  await onStage(ctx, helper, report, 'demo-counter', counterStory);
  await report.title(`The sed trap (commands ${baseUrl === undefined ? 'from a list' : `by ${model}`})`);
  await onStage(ctx, helper, report, 'demo-sed', (stage) => sedStory(stage, candidates));
  await report.finish();
  if (!report.ok) ctx.exitCode = 1;
}

/** Runs a story in a sandbox of its own, and leaves nothing of it. */
async function onStage(ctx: Context, helper: Connection, report: Report, name: string, story: Story): Promise<void> {
  const workspace = await mkdtemp(join(tmpdir(), `${name}-`));
  let sandbox: string | undefined;
  try {
    const { writeFiles } = await import('./demo/files.ts');
    await writeFiles(workspace, name);
    await giveToCaller(workspace);
    const env = insideEnv(ctx.io.env);
    const created = await report.timed('sandbox made', () => helper.request('sandbox/create', { workspace, env }));
    sandbox = created.sandbox.id;
    await story({ helper, report, sandbox, workspace });
  } finally {
    if (sandbox !== undefined) await helper.request('sandbox/remove', { sandbox }).catch(() => {});
    await rm(workspace, { recursive: true, force: true });
  }
}

/** Under sudo the folder is the user's who called it, so that the payload is theirs and not root's. */
async function giveToCaller(folder: string): Promise<void> {
  const [uid, gid] = [Number(process.env.SUDO_UID), Number(process.env.SUDO_GID)];
  if (process.getuid?.() === 0 && uid > 0 && gid > 0) await chown(folder, uid, gid);
}
