/** What every part of the debug adapter stands on: the program that is launched, answers, events. */
import { basename } from 'node:path';
import { DebugSession, OutputEvent, StoppedEvent, TerminatedEvent } from '@vscode/debugadapter';
import type { DebugProtocol } from '@vscode/debugprotocol';
import type { BridgeResult } from '../../helper/protocol/bridge.ts';
import { t } from '../l10n.ts';
import { Breakpoints } from './breakpoints.ts';
import type { Scopes } from './scopes.ts';
import type { Walk } from './walk.ts';
import type { World } from './world.ts';

export type Document = BridgeResult<'document/read'>;

export interface LaunchArguments extends DebugProtocol.LaunchRequestArguments {
  /** A run document, a shell script or a transcript. */
  program: string;
  /** Name or id. */
  sandbox: string;
  stopOnEntry?: boolean;
  /** A line, from 0, to run to at once. */
  runTo?: number;
}

/** What is answered to `runTo`. */
export interface RunTo {
  /** This walk was ended already, and nothing comes of it. */
  over: boolean;
}

/** There is one thread, with one frame. */
export const THREAD = 1;
/** The text that a transcript is shown as. */
const TRANSCRIPT = 1;
export const FILTERS = { failed: 'failed', changed: 'changed' } as const;

/** Everything that is there only once a program is launched. */
export interface Launched {
  args: LaunchArguments;
  document: Document;
  walk: Walk;
  scopes: Scopes;
  workspace: string;
}

export abstract class BaseSession extends DebugSession {
  protected launched: Launched | undefined;
  protected breakpoints = new Breakpoints('');
  protected busy = false;
  protected over = false;

  constructor(protected readonly world: World) {
    super();
    this.setDebuggerLinesStartAt1(false);
    this.setDebuggerColumnsStartAt1(false);
  }

  protected live(): Launched {
    if (!this.launched) throw new Error(t('Nothing is launched yet.'));
    return this.launched;
  }

  protected isOurs(source: DebugProtocol.Source): boolean {
    const { document, args } = this.live();
    if (document.format === 'run' || document.format === 'shell') return source.path === args.program;
    return source.sourceReference === TRANSCRIPT || source.name === this.source().name;
  }

  protected source(): DebugProtocol.Source {
    const { document, args } = this.live();
    const name = basename(args.program);
    if (document.format === 'run' || document.format === 'shell') return { name, path: args.program };
    return { name: `${name}.teleport-env.sh`, sourceReference: TRANSCRIPT, origin: t('made of {0}', name) };
  }

  protected halt(reason: string, text?: string): void {
    this.live().scopes.forget();
    const event: DebugProtocol.StoppedEvent = new StoppedEvent(reason, THREAD);
    event.body.allThreadsStopped = true;
    if (text !== undefined) {
      event.body.text = text;
      event.body.description = text;
    }
    this.sendEvent(event);
  }

  protected say(text: string): void {
    this.output(`${text}\n`, 'console');
  }

  protected output(text: string, category: string, place: { source?: DebugProtocol.Source; line?: number } = {}): void {
    if (text === '') return;
    const event: DebugProtocol.OutputEvent = new OutputEvent(text, category);
    Object.assign(event.body, place);
    this.sendEvent(event);
  }

  /** Lenses and hints in the document follow. */
  protected report(): void {
    const { args, walk, document } = this.live();
    const line = document.steps[walk.position]?.range.start.line ?? null;
    const walked = { uri: this.world.uri(args.program), sandbox: walk.sandbox, line, steps: walk.stepped() };
    this.world.ask('document/stepped', walked).catch(() => undefined);
  }

  protected answer(response: DebugProtocol.Response, act: () => Promise<void>, showUser = true): void {
    act().then(
      () => this.sendResponse(response),
      (error) => this.fail(response, error, showUser),
    );
  }

  /** Answered at once, as the protocol wants it of what makes things run; how it ends is told by an event. */
  protected acknowledge(response: DebugProtocol.Response, act: () => Promise<void>): void {
    if (this.over) {
      this.fail(response, new Error(t('This walk has ended.')), false);
      return;
    }
    if (this.busy) {
      this.fail(response, new Error(t('A command of the run is under way. Pause it first.')));
      return;
    }
    this.busy = true;
    this.sendResponse(response);
    act()
      .catch((error: Error) => {
        this.output(`${error.message}\n`, 'stderr');
        this.halt('exception', error.message);
      })
      .finally(() => {
        this.busy = false;
      });
  }

  /** @param showUser in a notification, beside where it was asked */
  protected fail(response: DebugProtocol.Response, error: unknown, showUser = true): void {
    const { message, hint } = error as Error & { hint?: string };
    const format = [message, hint].filter(Boolean).join(' ').replace(/[{}]/g, '');
    this.sendErrorResponse(response, { id: 1, format, showUser });
  }

  protected end(): void {
    if (this.over) return;
    this.over = true;
    this.sendEvent(new TerminatedEvent());
  }
}

export function oneLine(command: string): string {
  const line = command.split('\n')[0]!;
  return line.length < command.length || line.length > 80 ? `${line.slice(0, 79)}…` : line;
}
