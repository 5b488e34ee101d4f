/** The debug adapter: the editor's own buttons walk through a run document, in both directions. Knows nothing of VS Code. */
import { basename } from 'node:path';
import { StringDecoder } from 'node:string_decoder';
import { DebugSession, InitializedEvent, OutputEvent, StoppedEvent, TerminatedEvent } from '@vscode/debugadapter';
import type { DebugProtocol } from '@vscode/debugprotocol';
import type { BridgeResult } from '../../helper/protocol/bridge.ts';
import { t } from '../l10n.ts';
import { duration, files } from '../views/words.ts';
import { Breakpoints, stepAt } from './breakpoints.ts';
import { Scopes } from './scopes.ts';
import { type Ran, Walk } from './walk.ts';
import type { World } from './world.ts';

type Document = BridgeResult<'document/read'>;

export interface LaunchArguments extends DebugProtocol.LaunchRequestArguments {
  /** A run document, a shell script or a transcript. */
  program: string;
  /** Name or id. */
  sandbox: string;
  stopOnEntry?: boolean;
  /** A line, from 0, to run to at once. */
  runTo?: number;
}

/** There is one thread, with one frame. */
const THREAD = 1;
/** The text that a transcript is shown as. */
const TRANSCRIPT = 1;
const FILTERS = { failed: 'failed', changed: 'changed' } as const;

/** Everything that is there only once a program is launched. */
interface Launched {
  args: LaunchArguments;
  document: Document;
  walk: Walk;
  scopes: Scopes;
  workspace: string;
}

export class StepSession extends DebugSession {
  private launched: Launched | undefined;
  private breakpoints = new Breakpoints('');
  private wanted: DebugProtocol.SourceBreakpoint[] = [];
  private general: string[] = [];
  private pausing = false;
  private busy = false;
  private over = false;
  private readonly unsubscribe: (() => void)[] = [];

  constructor(private readonly world: World) {
    super();
    this.setDebuggerLinesStartAt1(false);
    this.setDebuggerColumnsStartAt1(false);
  }

  protected override initializeRequest(response: DebugProtocol.InitializeResponse): void {
    response.body = {
      supportsConfigurationDoneRequest: true,
      supportsStepBack: true,
      supportsRestartRequest: true,
      supportsConditionalBreakpoints: true,
      supportsGotoTargetsRequest: true,
      supportsEvaluateForHovers: true,
      supportsSetVariable: true,
      supportsTerminateRequest: true,
      supportsExceptionFilterOptions: true,
      exceptionBreakpointFilters: [
        {
          filter: FILTERS.failed,
          label: t('A command fails'),
          description: t('Stop after a command whose exit code is not 0.'),
        },
        {
          filter: FILTERS.changed,
          label: t('A path changes'),
          description: t('Stop after a command that changed a path. Edit the condition to say which.'),
          supportsCondition: true,
          conditionDescription: t('A path, such as src/** or *.json'),
        },
      ],
    };
    this.sendResponse(response);
  }

  protected override launchRequest(
    response: DebugProtocol.LaunchResponse,
    args: DebugProtocol.LaunchRequestArguments,
  ): void {
    this.answer(response, async () => {
      const launch = args as LaunchArguments;
      let { sandbox } = await this.world.ask('sandbox/get', { sandbox: launch.sandbox });
      if (sandbox.head === null)
        ({ sandbox } = await this.world.ask('sandbox/start', { sandbox: sandbox.id }, { patient: true }));
      const document = await this.read(launch);
      this.breakpoints = new Breakpoints(sandbox.workspace);
      const walk = new Walk(this.world, sandbox.id, document.steps);
      const scopes = new Scopes(this.world, walk, sandbox.workspace);
      this.launched = { args: launch, document, walk, scopes, workspace: sandbox.workspace };
      this.unsubscribe.push(
        this.world.on('head/moved', (moved) => {
          const { walk: followed } = this.launched!;
          const where = followed.follow(moved);
          if (where === 'own' || followed.running) return;
          if (where === 'unknown')
            this.say(
              t(
                'The sandbox went to {0}, which is no moment of this run. Stepping goes on from there.',
                moved.checkpoint,
              ),
            );
          this.halt('goto');
        }),
      );
      // Only now breakpoints can be put on statements.
      setImmediate(() => this.sendEvent(new InitializedEvent()));
    });
  }

  private async read({ program }: LaunchArguments): Promise<Document> {
    const document = await this.world.ask('document/read', { text: await this.world.read(program) });
    if (document.steps.length === 0) throw new Error(t('{0} holds no step to run.', basename(program)));
    return document;
  }

  protected override configurationDoneRequest(response: DebugProtocol.ConfigurationDoneResponse): void {
    this.answer(response, async () => {
      const { args, walk } = this.live();
      await walk.begin(t('before {0}', basename(args.program)));
      this.report();
      if (args.runTo !== undefined) setImmediate(() => void this.runTo(args.runTo!));
      else if (args.stopOnEntry ?? true) this.halt('entry');
      else setImmediate(() => void this.go(true));
    });
  }

  // ---- forwards ----

  protected override nextRequest(response: DebugProtocol.NextResponse): void {
    this.acknowledge(response, () => this.go(false));
  }

  protected override stepInRequest(response: DebugProtocol.StepInResponse): void {
    this.acknowledge(response, () => this.go(false));
  }

  protected override stepOutRequest(response: DebugProtocol.StepOutResponse): void {
    this.acknowledge(response, () => this.go(true));
  }

  protected override continueRequest(response: DebugProtocol.ContinueResponse): void {
    response.body = { allThreadsContinued: true };
    this.acknowledge(response, () => this.go(true));
  }

  /** Beyond the protocol: on to a line, or back to it where it was passed. */
  protected override customRequest(command: string, response: DebugProtocol.Response, args: { line: number }): void {
    if (command === 'runTo') this.acknowledge(response, () => this.runTo(args.line));
    else super.customRequest(command, response, args);
  }

  private async runTo(line: number): Promise<void> {
    const { walk, document } = this.live();
    const step = stepAt(document.steps, line) ?? document.steps.length;
    if (step < walk.position && walk.mark(step) !== undefined) return this.back(step, 'goto');
    if (step === walk.position) return this.halt('goto');
    await this.go(true, step);
  }

  /** @param target a position to stop at, besides breakpoints */
  private async go(on: boolean, target = -1): Promise<void> {
    const { walk } = this.live();
    if (walk.atEnd) return this.end();
    this.pausing = false;
    const stops = (): [reason: string, text?: string] | null => {
      if (walk.atEnd) return ['step', t('end of the run')];
      const reason = this.breakpoints.stopsAt(walk.position, walk.known);
      if (reason === 'exception') return ['exception', this.whyStopped(walk.known(walk.position - 1)!)];
      if (reason !== null) return ['breakpoint'];
      if (walk.position === target) return ['goto'];
      return this.pausing ? ['pause'] : null;
    };
    for (;;) {
      const ran = await this.one(walk);
      if (ran === null) return;
      if (ran.ended) return this.halt('exception', t('The shell ended with exit code {0}.', ran.exitCode));
      const why: [reason: string, text?: string] | null = on ? stops() : ['step'];
      if (why) return this.halt(...why);
    }
  }

  /** @returns null where it did not come to its end, and that has been told */
  private async one(walk: Walk): Promise<Ran | null> {
    const at = walk.position;
    const step = walk.steps[at]!;
    const decoder = new StringDecoder('utf8');
    const place = { source: this.source(), line: this.convertDebuggerLineToClient(step.range.start.line) };
    try {
      const ran = await walk.forward(
        (data) => this.output(decoder.write(data), 'stdout', place),
        this.breakpoints.askChanges,
      );
      const parts = [`exit ${ran.exitCode}`, duration(ran.durationMs), files(ran.filesChanged), ran.checkpoint];
      this.output(
        `${oneLine(step.command)} · ${parts.join(' · ')}\n`,
        ran.exitCode === 0 ? 'console' : 'important',
        place,
      );
      this.report();
      return ran;
    } catch (error) {
      if (this.over) return null;
      const cancelled = (error as { code?: string }).code === 'cancelled';
      if (cancelled) this.say(t('“{0}” was given up: the sandbox went back.', oneLine(step.command)));
      else this.output(`${(error as Error).message}\n`, 'stderr', place);
      this.report();
      this.halt(cancelled ? 'pause' : 'exception', cancelled ? undefined : (error as Error).message);
      return null;
    }
  }

  private whyStopped({ exitCode }: Ran): string {
    return exitCode === 0 ? t('A path changed.') : t('It ended with exit code {0}.', exitCode);
  }

  /** The first time, the run stops after the command under way; once more, or while stepping, the command gets a Ctrl-C. */
  protected override pauseRequest(response: DebugProtocol.PauseResponse): void {
    this.answer(response, async () => {
      const { walk } = this.live();
      if (this.pausing) return walk.interrupt();
      this.pausing = true;
      this.say(t('It stops after this command. Pause again to interrupt it.'));
    });
  }

  // ---- backwards ----

  protected override stepBackRequest(response: DebugProtocol.StepBackResponse): void {
    this.acknowledge(response, () => this.back(this.live().walk.position - 1, 'step'));
  }

  protected override reverseContinueRequest(response: DebugProtocol.ReverseContinueResponse): void {
    this.acknowledge(response, async () => {
      const { walk } = this.live();
      if (this.breakpoints.askChanges) for (let at = 0; at < walk.position; at++) await walk.changedBy(at);
      let to = walk.position - 1;
      while (to > 0 && this.breakpoints.stopsAt(to, walk.known) === null) to--;
      await this.back(to, to > 0 ? 'breakpoint' : 'entry');
    });
  }

  private async back(to: number, reason: string): Promise<void> {
    const { walk } = this.live();
    if (to < 0) return this.halt('entry', t('the beginning of the run'));
    const ms = await walk.goTo(to);
    this.say(t('Back at {0} in {1}.', walk.mark(to)!, duration(ms)));
    this.report();
    this.halt(reason);
  }

  protected override restartRequest(response: DebugProtocol.RestartResponse): void {
    this.answer(response, async () => {
      const live = this.live();
      const { args, workspace } = live;
      if (live.walk.running) await live.walk.interrupt();
      await live.walk.goTo(0);
      // The file may have been edited meanwhile.
      const document = await this.read(args);
      const walk = new Walk(this.world, live.walk.sandbox, document.steps);
      await walk.begin(t('before {0}', basename(args.program)));
      this.launched = { ...live, document, walk, scopes: new Scopes(this.world, walk, workspace) };
      this.breakpoints.set(document.steps, this.wantedLines());
      this.report();
      this.halt('entry');
    });
  }

  // ---- breakpoints and jumps ----

  protected override setBreakPointsRequest(
    response: DebugProtocol.SetBreakpointsResponse,
    { source, breakpoints = [] }: DebugProtocol.SetBreakpointsArguments,
  ): void {
    const { document } = this.live();
    if (!this.isOurs(source)) {
      response.body = { breakpoints: breakpoints.map(() => ({ verified: false })) };
      this.sendResponse(response);
      return;
    }
    this.wanted = breakpoints;
    const placed = this.breakpoints.set(document.steps, this.wantedLines());
    response.body = {
      breakpoints: placed.map((one) => {
        const line = one.step === undefined ? undefined : document.steps[one.step]!.range.start.line;
        return {
          verified: !('problem' in one),
          ...(line === undefined ? {} : { line: this.convertDebuggerLineToClient(line) }),
          ...('problem' in one ? { message: one.problem } : {}),
        };
      }),
    };
    this.sendResponse(response);
  }

  private wantedLines() {
    return this.wanted.map(({ line, condition }) => ({
      line: this.convertClientLineToDebugger(line),
      ...(condition === undefined ? {} : { condition }),
    }));
  }

  protected override setExceptionBreakPointsRequest(
    response: DebugProtocol.SetExceptionBreakpointsResponse,
    { filters, filterOptions = [] }: DebugProtocol.SetExceptionBreakpointsArguments,
  ): void {
    this.answer(response, async () => {
      const all = [...filters.map((filterId) => ({ filterId, condition: '' })), ...filterOptions];
      this.general = all.map(({ filterId, condition }) =>
        filterId === FILTERS.failed ? 'failed' : `changed ${condition?.trim() || '**'}`,
      );
      this.breakpoints.setGeneral(this.general);
    });
  }

  protected override gotoTargetsRequest(
    response: DebugProtocol.GotoTargetsResponse,
    { source, line }: DebugProtocol.GotoTargetsArguments,
  ): void {
    const { document } = this.live();
    const step = this.isOurs(source) ? stepAt(document.steps, this.convertClientLineToDebugger(line)) : null;
    const targets = step === null ? [] : [{ id: step, label: oneLine(document.steps[step]!.command), line }];
    response.body = { targets };
    this.sendResponse(response);
  }

  /** To a statement that was reached: the sandbox goes back with it. To a later one: what is between is left out. */
  protected override gotoRequest(
    response: DebugProtocol.GotoResponse,
    { targetId }: DebugProtocol.GotoArguments,
  ): void {
    this.acknowledge(response, async () => {
      const { walk } = this.live();
      if (walk.mark(targetId) !== undefined) return this.back(targetId, 'goto');
      walk.skipTo(targetId);
      this.halt('goto');
    });
  }

  // ---- looking ----

  protected override threadsRequest(response: DebugProtocol.ThreadsResponse): void {
    response.body = { threads: [{ id: THREAD, name: this.launched?.document.title ?? t('Run') }] };
    this.sendResponse(response);
  }

  protected override stackTraceRequest(response: DebugProtocol.StackTraceResponse): void {
    const { walk, document } = this.live();
    const step = document.steps[walk.position];
    const { start, end } = (step ?? document.steps.at(-1)!).range;
    const at = step ? start : end;
    const frame: DebugProtocol.StackFrame = {
      id: 1,
      name: step ? oneLine(step.command) : t('end of the run'),
      source: this.source(),
      line: this.convertDebuggerLineToClient(at.line),
      column: this.convertDebuggerColumnToClient(at.character),
      endLine: this.convertDebuggerLineToClient(end.line),
      endColumn: this.convertDebuggerColumnToClient(end.character),
    };
    response.body = { stackFrames: [frame], totalFrames: 1 };
    this.sendResponse(response);
  }

  protected override sourceRequest(response: DebugProtocol.SourceResponse): void {
    response.body = { content: this.live().document.text, mimeType: 'text/x-shellscript' };
    this.sendResponse(response);
  }

  protected override scopesRequest(response: DebugProtocol.ScopesResponse): void {
    response.body = { scopes: this.live().scopes.all() };
    this.sendResponse(response);
  }

  protected override variablesRequest(
    response: DebugProtocol.VariablesResponse,
    { variablesReference }: DebugProtocol.VariablesArguments,
  ): void {
    this.answer(response, async () => {
      response.body = { variables: await this.live().scopes.variables(variablesReference) };
    });
  }

  protected override setVariableRequest(
    response: DebugProtocol.SetVariableResponse,
    { variablesReference, name, value }: DebugProtocol.SetVariableArguments,
  ): void {
    this.answer(response, async () => {
      const { scopes, walk } = this.live();
      const line = scopes.assignment(variablesReference, name, value);
      if (line === null) throw new Error(t('{0} can’t be set.', name));
      await walk.byHand(line, () => {});
      scopes.forget();
      response.body = { value };
    });
  }

  /** The console runs commands in the sandbox; hovers and watches look at variables. */
  protected override evaluateRequest(
    response: DebugProtocol.EvaluateResponse,
    { expression, context }: DebugProtocol.EvaluateArguments,
  ): void {
    this.answer(response, async () => {
      const { scopes, walk } = this.live();
      if (context !== 'repl') {
        const found = await scopes.find(expression);
        if (!found) throw new Error(t('There is no variable {0}.', expression));
        response.body = { result: found.value, variablesReference: found.variablesReference };
        return;
      }
      if (this.busy) throw new Error(t('A command of the run is under way. Pause it first.'));
      const decoder = new StringDecoder('utf8');
      const exitCode = await walk.byHand(expression, (data) => this.output(decoder.write(data), 'stdout'));
      scopes.forget();
      this.report();
      response.body = { result: exitCode === 0 ? '' : `exit ${exitCode}`, variablesReference: 0 };
    });
  }

  // ---- the end ----

  protected override terminateRequest(response: DebugProtocol.TerminateResponse): void {
    this.answer(response, async () => {
      this.end();
      if (this.launched?.walk.running) await this.launched.walk.interrupt();
    });
  }

  protected override disconnectRequest(response: DebugProtocol.DisconnectResponse): void {
    this.over = true;
    for (const stop of this.unsubscribe.splice(0)) stop();
    this.sendResponse(response);
  }

  private end(): void {
    if (this.over) return;
    this.over = true;
    this.sendEvent(new TerminatedEvent());
  }

  // ---- helpers ----

  private live(): Launched {
    if (!this.launched) throw new Error(t('Nothing is launched yet.'));
    return this.launched;
  }

  private isOurs(source: DebugProtocol.Source): boolean {
    const { document, args } = this.live();
    if (document.format === 'run' || document.format === 'shell') return source.path === args.program;
    return source.sourceReference === TRANSCRIPT || source.name === this.source().name;
  }

  private source(): DebugProtocol.Source {
    const { document, args } = this.live();
    const name = basename(args.program);
    if (document.format === 'run' || document.format === 'shell') return { name, path: args.program };
    return { name: `${name}.teleport-env.sh`, sourceReference: TRANSCRIPT, origin: t('made of {0}', name) };
  }

  private halt(reason: string, text?: string): void {
    this.live().scopes.forget();
    const event: DebugProtocol.StoppedEvent = new StoppedEvent(reason, THREAD);
    event.body.allThreadsStopped = true;
    if (text !== undefined) {
      event.body.text = text;
      event.body.description = text;
    }
    this.sendEvent(event);
  }

  private say(text: string): void {
    this.output(`${text}\n`, 'console');
  }

  private output(text: string, category: string, place: { source?: DebugProtocol.Source; line?: number } = {}): void {
    if (text === '') return;
    const event: DebugProtocol.OutputEvent = new OutputEvent(text, category);
    Object.assign(event.body, place);
    this.sendEvent(event);
  }

  /** Lenses and hints in the document follow. */
  private report(): void {
    const { args, walk, document } = this.live();
    const line = document.steps[walk.position]?.range.start.line ?? null;
    const walked = { uri: this.world.uri(args.program), sandbox: walk.sandbox, line, steps: walk.stepped() };
    this.world.ask('document/stepped', walked).catch(() => undefined);
  }

  private answer(response: DebugProtocol.Response, act: () => Promise<void>): void {
    act().then(
      () => this.sendResponse(response),
      (error) => this.fail(response, error),
    );
  }

  /** Answered at once, as the protocol wants it of what makes things run; how it ends is told by an event. */
  private acknowledge(response: DebugProtocol.Response, act: () => Promise<void>): void {
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

  private fail(response: DebugProtocol.Response, error: unknown): void {
    const { message, hint } = error as Error & { hint?: string };
    const format = [message, hint].filter(Boolean).join(' ').replace(/[{}]/g, '');
    this.sendErrorResponse(response, { id: 1, format, showUser: true });
  }
}

function oneLine(command: string): string {
  const line = command.split('\n')[0]!;
  return line.length < command.length || line.length > 80 ? `${line.slice(0, 79)}…` : line;
}
