/** What the debugger shows at a stop: where it is, variables, and the console. */
import { StringDecoder } from 'node:string_decoder';
import type { DebugProtocol } from '@vscode/debugprotocol';
import { t } from '../l10n.ts';
import { BaseSession, oneLine, THREAD } from './base-session.ts';

export abstract class LookingSession extends BaseSession {
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
    // Asked of each word under the mouse; and the console says itself what went wrong.
    const showUser = false;
    const evaluate = async (): Promise<void> => {
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
    };
    this.answer(response, evaluate, showUser);
  }
}
