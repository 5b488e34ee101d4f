/**
 * The model gateway from the editor: its keys, its switch, how it stands. The client process beside the helper serves; it is given
 * the keys when it is switched on and again after a reconnect.
 */
import { commands, Disposable, env, StatusBarAlignment, Uri, window, workspace } from 'vscode';
import type { ProviderName } from '../../helper/protocol/gateway.ts';
import type { Sandbox } from '../../helper/protocol/model.ts';
import type { App, Feature } from '../app.ts';
import { HelperError } from '../connection/errors.ts';
import { COMMANDS, SETTINGS } from '../ids.ts';
import { t } from '../l10n.ts';
import { register } from '../register.ts';
import { report, tell } from '../report.ts';
import { targetSandbox } from '../targets.ts';
import { ago, usage } from '../views/words.ts';
import { KEY_VARIABLES, Keys, PROVIDER_TITLES } from './keys.ts';
import { settingsOf } from './settings-model.ts';
import { exportLine, gatewayStatus } from './status-model.ts';

/** Remembered per workspace: the sandboxes whose gateway this window is. */
const ON = 'gateways';
const PROVIDERS = ['openai', 'anthropic'] as const satisfies ProviderName[];

export const gateway: Feature = (app) => {
  const { helper, store, context } = app;
  const keys = new Keys(context.secrets, process.env);
  const item = window.createStatusBarItem('teleportEnv.gateway', StatusBarAlignment.Left, 9);
  item.name = t('Teleport Env: model gateway');
  item.command = COMMANDS.modelGateway;
  const show = () => {
    const status = gatewayStatus(store.shown);
    if (!status) return item.hide();
    item.text = status.text;
    item.tooltip = status.tooltip;
    item.accessibilityInformation = { label: status.spoken, role: 'button' };
    item.show();
  };
  show();
  const on = () => new Set(context.workspaceState.get<string[]>(ON, []));
  const remember = (sandbox: string, is: boolean) => {
    const all = on();
    if (is) all.add(sandbox);
    else all.delete(sandbox);
    return context.workspaceState.update(ON, [...all]);
  };

  /** @returns what new sessions have by it; undefined where there is no key */
  const start = async (sandbox: Sandbox): Promise<Record<string, string> | undefined> => {
    const settings = await settingsNow(keys);
    if (!settings) return undefined;
    const { variables } = await helper.ask('gateway/start', { sandbox: sandbox.id, settings });
    await remember(sandbox.id, true);
    return variables;
  };
  /** Of a window that was closed or lost its helper. Another window may have taken it over: then it is that one's. */
  const again = async () => {
    if (!workspace.isTrusted) return;
    for (const id of on()) {
      const sandbox = store.sandbox(id);
      if (!sandbox) continue;
      await start(sandbox).catch((error) => {
        if (error instanceof HelperError && error.code === 'gatewayTaken') return remember(id, false);
        return report(app.log, error);
      });
    }
  };
  let connection = 0;
  let served = -1;
  const listed = () => {
    if (served === connection || helper.state.kind !== 'ready') return;
    served = connection;
    void again();
  };

  return Disposable.from(
    item,
    store.onDidChange((change) => {
      show();
      if (change.kind === 'sandboxes') listed();
    }),
    helper.onDidChangeState((state) => {
      if (state.kind === 'ready') connection++;
    }),
    register(app, {
      [COMMANDS.modelGateway]: (argument) => choose(app, keys, argument),
      [COMMANDS.startGateway]: async (argument) => {
        const sandbox = await targetSandbox(app, argument, t('Let programs of which sandbox ask models?'));
        if (!sandbox) return;
        const before = await terminalsIn(app, sandbox);
        const variables = (await start(sandbox)) ?? ((await setKey(keys)) ? await start(sandbox) : undefined);
        if (variables) tellOn(app, sandbox, before, variables);
      },
      [COMMANDS.stopGateway]: async (argument) => {
        const sandbox = await targetSandbox(app, argument);
        if (!sandbox) return;
        await remember(sandbox.id, false);
        await helper.ask('gateway/stop', { sandbox: sandbox.id });
      },
      [COMMANDS.setModelKey]: async () => {
        // What serves already goes on with the new one.
        if (await setKey(keys)) await again();
      },
      [COMMANDS.openConversation]: (argument) => openConversation(app, argument),
    }),
  );
};

async function terminalsIn({ helper }: App, { id, state }: Sandbox): Promise<number> {
  if (state !== 'running') return 0;
  const { sessions } = await helper.ask('session/list', { sandbox: id });
  return sessions.filter(({ kind, running }) => kind === 'terminal' && running).length;
}

/** Nobody can change the environment of what runs already: its user can. */
function tellOn(app: App, sandbox: Sandbox, before: number, variables: Record<string, string>): void {
  const words = [t('Programs in {0} can ask models now; the key stays out here.', sandbox.name)];
  const ways: Record<string, () => unknown> = {
    [t('Open terminal')]: () => commands.executeCommand(COMMANDS.openTerminal, { sandbox: sandbox.id }),
  };
  if (before === 0) words.push(t('New terminals know where.'));
  else {
    words.push(t('New terminals know where. One that was open before needs a line that you paste into it.'));
    ways[t('Copy that line')] = () => env.clipboard.writeText(exportLine(variables));
  }
  tell(app.log, words.join(' '), ways);
}

async function settingsNow(keys: Keys) {
  const configuration = workspace.getConfiguration();
  const found: Partial<Record<ProviderName, string>> = {};
  for (const provider of PROVIDERS) {
    const key = await keys.get(provider);
    if (key !== undefined) found[provider] = key;
  }
  return settingsOf(found, {
    baseUrls: configuration.get<Record<string, unknown>>(SETTINGS.gatewayBaseUrls, {}),
    prices: configuration.get<Record<string, unknown>>(SETTINGS.gatewayPrices, {}),
    budgetTokens: configuration.get<number>(SETTINGS.gatewayBudgetTokens, 0),
    budgetRequests: configuration.get<number>(SETTINGS.gatewayBudgetRequests, 0),
    transcripts: configuration.get<boolean>(SETTINGS.gatewayTranscripts, true),
  });
}

/** False: thought better of it. */
async function setKey(keys: Keys): Promise<boolean> {
  const items = await Promise.all(
    PROVIDERS.map(async (provider) => ({
      label: PROVIDER_TITLES[provider],
      description: await sourceWords(keys, provider),
      provider,
    })),
  );
  const chosen = await window.showQuickPick(items, { placeHolder: t('The key of which provider?') });
  if (!chosen) return false;
  const title = t('Key for {0}', chosen.label);
  const prompt = t(
    'Kept in the editor’s secret storage, never in a sandbox. Leave it empty to forget the one there is.',
  );
  const key = await window.showInputBox({ title, prompt, password: true, ignoreFocusOut: true });
  if (key === undefined) return false;
  await keys.set(chosen.provider, key.trim() || undefined);
  return key.trim() !== '';
}

async function sourceWords(keys: Keys, provider: ProviderName): Promise<string> {
  switch (await keys.source(provider)) {
    case 'stored':
      return t('stored');
    case 'environment':
      return t('from {0}', KEY_VARIABLES[provider]);
    case 'none':
      return t('none yet');
  }
}

async function choose(app: App, keys: Keys, argument: unknown): Promise<void> {
  const sandbox = await targetSandbox(app, argument);
  if (!sandbox) return;
  const about = { sandbox: sandbox.id };
  const isOn = sandbox.gateway !== undefined;
  const sources = await Promise.all(PROVIDERS.map(async (p) => `${PROVIDER_TITLES[p]}: ${await sourceWords(keys, p)}`));
  const items = [
    isOn
      ? { label: `$(circle-slash) ${t('Switch off')}`, run: () => commands.executeCommand(COMMANDS.stopGateway, about) }
      : { label: `$(sparkle) ${t('Switch on')}`, run: () => commands.executeCommand(COMMANDS.startGateway, about) },
    {
      label: `$(key) ${t('Set key…')}`,
      description: sources.join(' · '),
      run: () => commands.executeCommand(COMMANDS.setModelKey),
    },
    {
      label: `$(comment-discussion) ${t('Open a conversation…')}`,
      run: () => commands.executeCommand(COMMANDS.openConversation, about),
    },
    {
      label: `$(settings-gear) ${t('Endpoints, prices, budget…')}`,
      run: () => commands.executeCommand('workbench.action.openSettings', 'teleportEnv.gateway'),
    },
  ] satisfies { label: string; description?: string; run: () => unknown }[];
  const title = t('Model gateway of {0}', sandbox.name);
  const placeHolder = sandbox.usage ? usage(sandbox.usage) : t('Programs inside ask models; the key stays out here');
  await (await window.showQuickPick(items, { title, placeHolder }))?.run();
}

/** What was said through the gateway, as a run document: the debugger steps through it. */
async function openConversation(app: App, argument: unknown): Promise<void> {
  const sandbox = await targetSandbox(app, argument, t('A conversation of which sandbox?'));
  if (!sandbox) return;
  const { transcripts } = await app.helper.ask('gateway/transcripts', { sandbox: sandbox.id });
  if (transcripts.length === 0) {
    tell(app.log, t('No program in {0} asked a model through the gateway yet.', sandbox.name));
    return;
  }
  const items = transcripts.map(({ file, title, steps, changedAt }) => ({
    label: title ?? t('conversation'),
    description: [steps === 1 ? t('1 step') : t('{0} steps', steps), ago(changedAt, Date.now())].join(' · '),
    file,
  }));
  const chosen = await window.showQuickPick(items, { placeHolder: t('Which conversation?') });
  if (!chosen) return;
  const file = app.helper.place.fromHelperPath(chosen.file);
  await commands.executeCommand(COMMANDS.openTranscript, Uri.file(file));
}
