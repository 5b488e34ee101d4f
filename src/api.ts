import type { Disposable, Event } from 'vscode';
import type { HeadMoved } from '../helper/protocol/methods.ts';
import type { Checkpoint, Sandbox } from '../helper/protocol/model.ts';
import type { App } from './app.ts';
import type { Ask } from './connection/helper.ts';

/** Where the caller will probably go next: up to three stand by then. Holds until it is given again, `[]` ends it. */
interface Expecting {
  expect?: string[];
}

/** What `activate` returns, for other extensions. Grows, never changes: ask for `version`. */
export interface TeleportEnvApi {
  readonly version: 1;
  /** As the helper last told. */
  readonly sandboxes: readonly Sandbox[];
  /** The one that the timeline shows. */
  readonly shown: Sandbox | undefined;
  /** Something about the sandboxes or their checkpoints changed. */
  readonly onDidChange: Event<void>;
  checkpoints(sandbox: string, limit?: number): Promise<Checkpoint[]>;
  checkpoint(sandbox: string, label?: string, options?: Expecting): Promise<Checkpoint>;
  /** Saves what is there first, unless `discard`. */
  rollback(sandbox: string, checkpoint: string, options?: { discard?: boolean } & Expecting): Promise<HeadMoved>;
  undo(sandbox: string): Promise<HeadMoved>;
  /** The new branch's id. */
  fork(sandbox: string, checkpoint: string, options?: Expecting): Promise<string>;
  /** A line in the sandbox's own shell, then a checkpoint. */
  run(
    sandbox: string,
    line: string,
    options?: Expecting,
  ): Promise<{ exitCode: number; output: string; checkpoint: Checkpoint | null }>;
}

/** What it is asked for loads the rest of the extension; what it only tells does not. */
export function apiOf(
  load: () => Promise<App>,
  loaded: () => App | undefined,
  listen: (listener: () => void) => Disposable,
): TeleportEnvApi {
  const ask: Ask = async (...asked) => (await load()).helper.ask(...asked);
  return {
    version: 1,
    get sandboxes() {
      return loaded()?.store.sandboxes ?? [];
    },
    get shown() {
      return loaded()?.store.shown;
    },
    onDidChange: (listener, thisArgs, disposables) => {
      const listening = listen(() => listener.call(thisArgs));
      disposables?.push(listening);
      return listening;
    },
    checkpoints: async (sandbox, limit) => {
      const params = limit === undefined ? { sandbox } : { sandbox, limit };
      return (await ask('checkpoint/list', params)).checkpoints;
    },
    checkpoint: async (sandbox, label, { expect } = {}) => {
      const params = label === undefined ? { sandbox } : { sandbox, label };
      return (await ask('checkpoint/create', { ...params, expect })).checkpoint;
    },
    rollback: (sandbox, checkpoint, { discard = false, expect } = {}) =>
      ask('checkpoint/rollback', { sandbox, checkpoint: checkpoint as never, discard, expect }),
    undo: (sandbox) => ask('checkpoint/undo', { sandbox }),
    fork: async (sandbox, checkpoint, { expect } = {}) =>
      (await ask('branch/fork', { sandbox, checkpoint: checkpoint as never, expect })).branch,
    run: async (sandbox, line, { expect } = {}) => {
      const { exitCode, output, checkpoint } = await ask('run', { sandbox, line, expect });
      return { exitCode, output: Buffer.from(output, 'base64').toString('utf8'), checkpoint };
    },
  };
}
