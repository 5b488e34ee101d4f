import { arch, homedir, hostname, release, type, userInfo } from 'node:os';
import { basename } from 'node:path';
import {
  commands,
  Disposable,
  env,
  ProgressLocation,
  type QuickPickItem,
  QuickPickItemKind,
  version,
  window,
  workspace,
} from 'vscode';
import type { Need } from '../../helper/protocol/model.ts';
import type { App, Feature } from '../app.ts';
import { COMMANDS, type CommandId } from '../ids.ts';
import { t } from '../l10n.ts';
import { register } from '../register.ts';
import { diagnostics } from './diagnostics-model.ts';
import { machineOf, machineWords, realProbes } from './machine.ts';

interface Item extends QuickPickItem {
  readonly command?: CommandId;
  readonly remedy?: string;
}

/** What this machine has and lacks, and the diagnostics for a bug report. */
export const doctor: Feature = (app) =>
  Disposable.from(
    register(app, {
      [COMMANDS.doctor]: () => examine(app),
      [COMMANDS.copyDiagnostics]: async () => {
        const { packageJSON } = app.context.extension;
        const text = diagnostics({
          extension: packageJSON.version,
          editor: `${env.appName} ${version}`,
          remote: env.remoteName ?? '',
          machine: machineOf(realProbes),
          system: `${type()} ${release()} ${arch()}`,
          place: app.helper.place.name,
          connection: app.helper.state,
          sandboxes: app.store.sandboxes,
          trouble: app.trouble.lines,
          names: ownNames(app),
        });
        await env.clipboard.writeText(text);
        window.setStatusBarMessage(t('Diagnostics copied'), 3_000);
      },
    }),
  );

function ownNames({ store }: App): string[] {
  const folders = (workspace.workspaceFolders ?? []).map(({ uri, name }) => [name, basename(uri.fsPath)]);
  const known = store.sandboxes.map(({ name, workspace: at }) => [name, basename(at)]);
  const people = [userInfo().username, basename(homedir())].filter((name) => name !== 'root');
  return [...people, hostname(), ...folders.flat(), ...known.flat()];
}

async function examine(app: App): Promise<void> {
  const state = await window.withProgress(
    { location: ProgressLocation.Window, title: t('Asking the helper') },
    async () => {
      const connected = await app.helper.connect();
      return connected.kind === 'ready' ? (await app.helper.ask('doctor', {})).needs : connected;
    },
  );
  const items: Item[] = [];
  // Worth a word only where something is amiss.
  const fine = Array.isArray(state) && !state.some((need) => need.status === 'missing');
  const words = fine ? null : machineWords(machineOf(realProbes));
  if (words) items.push({ label: `$(info) ${t('This machine')}`, detail: words });
  if (Array.isArray(state)) items.push(...needItems(state));
  else {
    const problem = 'problem' in state ? state.problem : undefined;
    items.push({
      label: `$(error) ${t('No connection to a helper')}`,
      detail: [problem?.message, problem?.hint].filter(Boolean).join(' '),
    });
  }
  items.push(
    { label: '', kind: QuickPickItemKind.Separator },
    { label: `$(tools) ${t('Set up this machine…')}`, command: COMMANDS.setUp },
    { label: `$(copy) ${t('Copy diagnostics')}`, command: COMMANDS.copyDiagnostics },
    { label: `$(output) ${t('Show log')}`, command: COMMANDS.showLog },
  );
  const chosen = await window.showQuickPick(items, {
    title: t('Doctor: what sandboxes need here'),
    placeHolder: t('Choose a line to copy what to do about it'),
    matchOnDetail: true,
  });
  if (chosen?.command) await commands.executeCommand(chosen.command);
  else if (chosen?.remedy) {
    await env.clipboard.writeText(chosen.remedy);
    window.setStatusBarMessage(t('Copied: {0}', chosen.remedy), 5_000);
  }
}

const ICONS: Record<Need['status'], string> = { ok: 'pass', warning: 'warning', missing: 'error' };
const ORDER: Need['status'][] = ['missing', 'warning', 'ok'];

/** What is amiss first. */
function needItems(needs: readonly Need[]): Item[] {
  const sorted = [...needs].sort((a, b) => ORDER.indexOf(a.status) - ORDER.indexOf(b.status));
  return sorted.map((need) => ({
    label: `$(${ICONS[need.status]}) ${need.title}`,
    description: need.detail,
    ...(need.remedy ? { detail: `$(arrow-right) ${need.remedy}`, remedy: need.remedy } : {}),
  }));
}
