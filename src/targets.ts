import { window } from 'vscode';
import type { Checkpoint, Sandbox } from '../helper/protocol/model.ts';
import type { App } from './app.ts';
import { HelperError } from './connection/errors.ts';
import { t } from './l10n.ts';
import type { Entry } from './views/selection.ts';
import { ago, nameOf, stateOf } from './views/words.ts';

/**
 * What a command is about. From a view it is the line that was clicked, from another extension an object with ids, from the
 * palette or a key what is selected, and where nothing is, one asks.
 */
export async function targetSandbox(
  app: App,
  argument: unknown,
  ask = t('Which sandbox?'),
): Promise<Sandbox | undefined> {
  const id = field(argument, 'sandbox');
  if (id !== undefined) {
    const sandbox = app.store.sandbox(id);
    if (!sandbox) throw new HelperError('unknownSandbox', t('There is no sandbox {0} any more.', id));
    return sandbox;
  }
  return app.store.shown ?? pickSandbox(app, ask);
}

export async function pickSandbox(app: App, ask: string): Promise<Sandbox | undefined> {
  await app.helper.connect();
  const all = app.store.sandboxes;
  if (all.length === 1) return all[0];
  const items = all.map((sandbox) => ({
    label: sandbox.name,
    description: stateOf(sandbox),
    detail: sandbox.workspace,
    sandbox,
  }));
  return (await window.showQuickPick(items, { placeHolder: ask, matchOnDetail: true }))?.sandbox;
}

export interface Moment {
  readonly sandbox: string;
  readonly checkpoint: Checkpoint;
}

/** A checkpoint. `ask` undefined: never asks. */
export async function targetMoment(app: App, argument: unknown, ask: string): Promise<Moment | undefined> {
  const entry = entryOf(argument) ?? app.selection.entry;
  if (entry) {
    const checkpoint = app.store.checkpoint(entry.sandbox, entry.id);
    if (!checkpoint)
      throw new HelperError('unknownCheckpoint', t('Checkpoint {0} is gone: it was deleted meanwhile.', entry.id));
    return { sandbox: entry.sandbox, checkpoint };
  }
  const sandbox = await targetSandbox(app, argument);
  if (!sandbox) return undefined;
  const known = app.store.timeline(sandbox.id)?.checkpoints;
  const all = known ?? (await app.helper.ask('checkpoint/list', { sandbox: sandbox.id, limit: 500 })).checkpoints;
  const items = all.map((checkpoint) => ({
    label: nameOf(checkpoint),
    description: [checkpoint.id, ago(checkpoint.createdAt, Date.now())].join(' · '),
    checkpoint,
  }));
  const chosen = await window.showQuickPick(items, { placeHolder: ask, matchOnDescription: true });
  return chosen && { sandbox: sandbox.id, checkpoint: chosen.checkpoint };
}

function entryOf(argument: unknown): Entry | undefined {
  const sandbox = field(argument, 'sandbox');
  const id = field(argument, 'id') ?? field(argument, 'checkpoint');
  return sandbox !== undefined && id !== undefined ? { kind: 'entry', sandbox, id } : undefined;
}

/** A string of an object that came from outside. */
export function field(argument: unknown, name: string): string | undefined {
  if (typeof argument !== 'object' || argument === null) return undefined;
  const value = (argument as Record<string, unknown>)[name];
  return typeof value === 'string' ? value : undefined;
}
