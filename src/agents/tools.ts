/** What the editor's own agents can do with the sandbox that the timeline shows. Confirmed by hand where state is dropped. */
import {
  Disposable,
  LanguageModelTextPart,
  type LanguageModelTool,
  LanguageModelToolResult,
  type PreparedToolInvocation,
} from 'vscode';
import type { App, Feature } from '../app.ts';
import { HelperError } from '../connection/errors.ts';
import { AGENT_TOOLS, type AgentTool } from '../ids.ts';
import { t } from '../l10n.ts';
import { wordsOf } from '../report.ts';
import { nameOf, oneLine } from '../views/words.ts';
import { News } from './news.ts';

interface Expecting {
  /** Where the agent will probably go next. */
  expect?: string[];
}

interface Inputs extends Record<AgentTool, unknown> {
  run: { line: string; note?: string; undoOnFail?: boolean } & Expecting;
  checkpoint: { label?: string } & Expecting;
  rollback: { checkpoint: string; discard?: boolean } & Expecting;
  log: { limit?: number };
  diff: { from?: string; to?: string };
  apply: { paths?: string[] };
}

interface Tool<I> {
  /** What is shown while it runs. */
  doing(input: I): string;
  /** Something is lost, or the real folder written: asked before. */
  confirm?(input: I): string | undefined;
  /** It may move the head by itself. */
  moves?(input: I): boolean;
  /** @param moved is told the head that it moved to */
  act(app: App, sandbox: string, input: I, moved: (head: string | null) => void): Promise<string>;
}

const LONGEST_OUTPUT = 30_000;
const MOST_PATHS = 100;

export const TOOLS: { [N in AgentTool]: Tool<Inputs[N]> } = {
  run: {
    doing: ({ line }) => t('Running “{0}” in the sandbox', oneLine(line, 60)),
    moves: ({ undoOnFail = false }) => undoOnFail,
    act: async ({ helper }, sandbox, { line, note, undoOnFail = false, expect }, moved) => {
      const params = { sandbox, line, undoOnFail, ...(note === undefined ? {} : { note }), expect };
      const ran = await helper.ask('run', params, { timeoutMs: 0 });
      if (ran.undone) moved((await helper.ask('sandbox/get', { sandbox })).sandbox.head);
      const output = Buffer.from(ran.output, 'base64').toString('utf8');
      const head = [`exit ${ran.exitCode}`];
      if (ran.checkpoint) head.push(`${ran.checkpoint.filesChanged} files changed`, `checkpoint ${ran.checkpoint.id}`);
      if (ran.undone) head.push('undone');
      return `${head.join(' · ')}\n${output.length > LONGEST_OUTPUT ? `…${output.slice(-LONGEST_OUTPUT)}` : output}`;
    },
  },
  checkpoint: {
    doing: () => t('Taking a checkpoint'),
    act: async ({ helper }, sandbox, { label, expect }) => {
      const { checkpoint } = await helper.ask('checkpoint/create', {
        sandbox,
        ...(label === undefined ? {} : { label }),
        expect,
      });
      return `Checkpoint ${checkpoint.id}`;
    },
  },
  rollback: {
    doing: ({ checkpoint }) => t('Rolling back to {0}', checkpoint),
    confirm: ({ checkpoint, discard }) =>
      discard
        ? t('Roll back to {0} without keeping where the sandbox is now? This can’t be undone.', checkpoint)
        : undefined,
    moves: () => true,
    act: async ({ helper }, sandbox, { checkpoint, discard = false, expect }, moved) => {
      const params = { sandbox, checkpoint: checkpoint as never, discard, expect };
      const went = await helper.ask('checkpoint/rollback', params);
      moved(went.head);
      const kept = went.saved === null ? '' : ` ${went.saved} keeps where it was.`;
      return `Rolled back to ${went.checkpoint}: files and processes are as they were then.${kept}`;
    },
  },
  log: {
    doing: () => t('Reading the checkpoints'),
    act: async ({ helper }, sandbox, { limit = 30 }) => {
      const { checkpoints, current } = await helper.ask('checkpoint/list', { sandbox, limit });
      return checkpoints
        .map((one) => {
          const exit = one.exitCode === null ? '' : ` · exit ${one.exitCode}`;
          const here = one.id === current ? ' · current' : '';
          return `${one.id} ${oneLine(nameOf(one), 120)}${exit} · ${one.filesChanged} files changed${here}`;
        })
        .join('\n');
    },
  },
  diff: {
    doing: () => t('Comparing'),
    act: async ({ helper }, sandbox, { from = 'k0', to }) => {
      const params = { sandbox, from: from as never, ...(to === undefined ? {} : { to: to as never }) };
      const { changes } = await helper.ask('diff', params);
      const lines = changes.slice(0, MOST_PATHS).map(({ kind, path }) => `${kind} ${path}`);
      if (changes.length > MOST_PATHS) lines.push(`… and ${changes.length - MOST_PATHS} more`);
      return lines.join('\n') || 'Nothing changed.';
    },
  },
  apply: {
    doing: () => t('Applying to the workspace'),
    confirm: ({ paths }) =>
      paths
        ? t('Write {0} files of the sandbox to the workspace?', paths.length)
        : t('Write all changes of the sandbox to the workspace?'),
    act: async ({ helper }, sandbox, { paths }) => {
      const done = await helper.ask(
        'apply/perform',
        { sandbox, ...(paths === undefined ? {} : { paths }) },
        { timeoutMs: 0 },
      );
      const left = done.conflicts.map(({ path, conflict }) => `Left alone: ${path} (${conflict})`);
      return [`Applied ${done.applied.length} files.`, ...left].join('\n');
    },
  },
};

export const agentTools: Feature = (app) => {
  const news = new News();
  const listening = app.helper.onNotification('head/moved', (moved) => news.heard(moved));
  const registered = AGENT_TOOLS.map((name) =>
    app.doors.tools[name].leadsTo(asLanguageModelTool(app, TOOLS[name] as Tool<unknown>, news)),
  );
  return Disposable.from(listening, ...registered);
};

function asLanguageModelTool(app: App, tool: Tool<unknown>, news: News): LanguageModelTool<unknown> {
  return {
    prepareInvocation: ({ input }): PreparedToolInvocation => {
      const question = tool.confirm?.(input);
      const invocationMessage = tool.doing(input);
      if (question === undefined) return { invocationMessage };
      return { invocationMessage, confirmationMessages: { title: 'Teleport Env', message: question } };
    },
    invoke: async ({ input }) => {
      const text = await perform(app, tool, input, news).catch((error) => `Failed: ${wordsOf(error)}`);
      return new LanguageModelToolResult([new LanguageModelTextPart(text)]);
    },
  };
}

async function perform(app: App, tool: Tool<unknown>, input: unknown, news: News): Promise<string> {
  await app.helper.connect();
  const { shown } = app.store;
  if (!shown) throw new HelperError('unknownSandbox', t('There is no sandbox yet.'), t('The user creates one.'));
  const told = news.since(shown.id, (id) => app.store.checkpoint(shown.id, id));
  const act = () => tool.act(app, shown.id, input, (head) => news.expected(shown.id, head));
  const text = await (tool.moves?.(input) ? news.own(act) : act());
  return told ? `${told}\n\n${text}` : text;
}
