/** The debug adapter: the editor's own buttons walk through a run document, in both directions. Knows nothing of VS Code. */
import { basename } from 'node:path';
import { StringDecoder } from 'node:string_decoder';
import { InitializedEvent } from '@vscode/debugadapter';
import type { DebugProtocol } from '@vscode/debugprotocol';
import { t } from '../l10n.ts';
import { duration, files } from '../views/words.ts';
import { type Document, FILTERS, type LaunchArguments, oneLine, type RunTo } from './base-session.ts';
import { BreakingSession } from './breaking-session.ts';
import { Breakpoints, stepAt } from './breakpoints.ts';
import { Scopes } from './scopes.ts';
import { type Ran, Walk } from './walk.ts';

export class StepSession extends BreakingSession {
  private pausing = false;
  private readonly unsubscribe: (() => void)[] = [];

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
    // The editor goes on calling it its active session for a moment: who asks begins another walk.
    response.body = { over: this.over } satisfies RunTo;
    if (command !== 'runTo') super.customRequest(command, response, args);
    else if (this.over) this.sendResponse(response);
    else this.acknowledge(response, () => this.runTo(args.line));
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
      // Whoever ended the walk meanwhile wants no more of it.
      if (ran === null || this.over) return;
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
        ran.exitCode === 0 ? 'console' : 'stderr', // 'important' would be a notification
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
}
