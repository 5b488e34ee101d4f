/**
 * *Run agent in sandbox…*: which one, whether its sign-in comes along, whether it may reach its model; then it is a terminal like
 * any other, and each of its tool calls an entry of the timeline. An agent in there goes back with the rest.
 */
import { Disposable, window } from 'vscode';
import type { Agent } from '../../helper/protocol/agents.ts';
import type { Sandbox } from '../../helper/protocol/model.ts';
import type { App, Feature } from '../app.ts';
import { COMMANDS } from '../ids.ts';
import { t } from '../l10n.ts';
import { register } from '../register.ts';
import { field, targetSandbox } from '../targets.ts';
import { openProgram } from '../terminal/terminals.ts';
import { agentDescription, listed } from './agent-words.ts';

export const runAgent: Feature = (app) => {
  /** What was said of a sandbox's lost steps, so that an agent that goes on does not say it each time. */
  const said = new Set<string>();
  return Disposable.from(
    app.helper.onNotification('step/failed', ({ sandbox, agent, message, hint }) => {
      const key = `${sandbox} ${message}`;
      if (said.has(key)) return;
      said.add(key);
      const words = [t('A step of {0} was not kept: {1}.', agent, message.replace(/\.$/, '')), hint].filter(Boolean);
      window.showWarningMessage(words.join(' '));
    }),
    register(app, { [COMMANDS.runAgent]: (argument) => start(app, argument) }),
  );
};

async function start(app: App, argument: unknown): Promise<void> {
  const { helper } = app;
  await helper.connect();
  const sandbox = await targetSandbox(app, argument, t('Run an agent in which sandbox?'));
  if (!sandbox) return;
  const agent = await pickAgent(field(argument, 'agent'));
  if (!agent) return;
  const line = agent.binary === null ? await askLine() : '';
  if (line === undefined) return;
  const signIn = await askSignIn(app, agent);
  if (signIn === undefined || !(await settleNetwork(app, agent, sandbox))) return;
  if (sandbox.head === null) await helper.ask('sandbox/start', { sandbox: sandbox.id });
  const program = agent.binary === null ? { program: 'sh', words: ['-c', `exec ${line}`] } : {};
  const { argv, env } = await helper.ask('agent/prepare', { sandbox: sandbox.id, agent: agent.id, signIn, ...program });
  await openProgram(app, sandbox, { argv, env, name: `${agent.name} (${sandbox.name})`, icon: 'robot' });
}

async function pickAgent(named: string | undefined): Promise<Agent | undefined> {
  // With their schema, so not when the window opens.
  const { AGENTS } = await import('../../helper/protocol/agents.ts');
  const known = AGENTS.find(({ id }) => id === named);
  if (known) return known;
  const items = AGENTS.map((agent) => ({ label: agent.name, description: agentDescription(agent), agent }));
  const title = t('Run agent in sandbox');
  const placeHolder = t('Which agent? It runs inside: a rollback takes its memory back, too.');
  return (await window.showQuickPick(items, { title, placeHolder }))?.agent;
}

function askLine(): Thenable<string | undefined> {
  return window.showInputBox({
    title: t('Run agent in sandbox'),
    prompt: t('The command that starts the agent, as it is inside'),
    validateInput: (text) => (text.trim() === '' ? t('A command is needed.') : undefined),
  });
}

/** Undefined: called off. */
async function askSignIn(app: App, agent: Agent): Promise<boolean | undefined> {
  const { files, variables } = await app.helper.ask('agent/look', { agent: agent.id });
  if (files.length + variables.length === 0) return false;
  const bring = t('Bring along');
  const without = t('Run without');
  const detail = t(
    '{0}. They are copied into the sandbox, whose memory images hold them then.',
    listed([...files.map((file) => `~/${file}`), ...variables], 6),
  );
  const question = t('Bring the configuration and sign-in of {0} along?', agent.name);
  const chosen = await window.showInformationMessage(question, { modal: true, detail }, bring, without);
  return chosen === undefined ? undefined : chosen === bring;
}

/** False: called off. */
async function settleNetwork(app: App, agent: Agent, sandbox: Sandbox): Promise<boolean> {
  if (sandbox.network !== 'none' || sandbox.gateway || agent.hosts.length === 0) return true;
  const allow = t('Allow network');
  const without = t('Run without');
  const question = t('{0} has no network. {1} has to reach its model.', sandbox.name, agent.name);
  const detail = t('It speaks to {0}. What goes out over the network can’t be taken back.', listed(agent.hosts, 4));
  const chosen = await window.showInformationMessage(question, { modal: true, detail }, allow, without);
  if (chosen === allow) await app.helper.ask('network/set', { sandbox: sandbox.id, network: 'nat' });
  return chosen !== undefined;
}
