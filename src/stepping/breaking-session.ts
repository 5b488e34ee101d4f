/** Breakpoints: on statements, on conditions, on any command. */
import type { DebugProtocol } from '@vscode/debugprotocol';
import { FILTERS } from './base-session.ts';
import { LookingSession } from './looking-session.ts';

export abstract class BreakingSession extends LookingSession {
  private wanted: DebugProtocol.SourceBreakpoint[] = [];

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

  protected wantedLines() {
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
      const conditions = all.map(({ filterId, condition }) =>
        filterId === FILTERS.failed ? 'failed' : `changed ${condition?.trim() || '**'}`,
      );
      this.breakpoints.setGeneral(conditions);
    });
  }
}
