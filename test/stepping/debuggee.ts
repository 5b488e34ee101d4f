/** A debug session spoken to as an editor does, by messages, over the real helper. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import type { DebugProtocol } from '@vscode/debugprotocol';
import type { Connection } from '../../helper/client/connection.ts';
import { readDocument } from '../../helper/client/documents/read.ts';
import type { BridgeParsed } from '../../helper/protocol/bridge.ts';
import { StepSession } from '../../src/stepping/session.ts';
import type { World } from '../../src/stepping/world.ts';

// biome-ignore lint/suspicious/noExplicitAny: bodies differ by message, and a wrong field fails the test
type Body = Record<string, any>;

export class Debuggee {
  readonly events: DebugProtocol.Event[] = [];
  readonly stepped: BridgeParsed<'document/stepped'>[] = [];
  private readonly session: StepSession;
  private readonly answers = new Map<number, (response: DebugProtocol.Response) => void>();
  private readonly waiting = new Set<() => void>();
  private seq = 0;
  private seen = 0;

  constructor(helper: Connection) {
    const world: World = {
      ask: async (method: string, params: object) => {
        if (method === 'document/read') return (await readDocument((params as { text: string }).text)) as never;
        if (method === 'document/stepped') {
          this.stepped.push(params as never);
          return {} as never;
        }
        return (await helper.forward(method, params)) as never;
      },
      on: (name, listener) => helper.on(name, listener),
      read: async (program) => readFileSync(program, 'utf8'),
      uri: (program) => pathToFileURL(program).href,
    };
    this.session = new StepSession(world);
    this.session.onDidSendMessage((message) => {
      const one = message as DebugProtocol.ProtocolMessage;
      if (one.type === 'response') {
        const response = one as DebugProtocol.Response;
        this.answers.get(response.request_seq)?.(response);
      } else {
        this.events.push(one as DebugProtocol.Event);
        for (const look of this.waiting) look();
      }
    });
  }

  request(command: string, args: object = {}): Promise<DebugProtocol.Response> {
    const seq = ++this.seq;
    return new Promise((resolve) => {
      this.answers.set(seq, resolve);
      this.session.handleMessage({ type: 'request', seq, command, arguments: args } as DebugProtocol.Request);
    });
  }

  async ok(command: string, args: object = {}): Promise<Body> {
    const response = await this.request(command, args);
    assert.ok(response.success, `${command}: ${response.message ?? JSON.stringify(response.body)}`);
    return response.body ?? {};
  }

  /** The next event of that kind that was not waited for before. */
  event(kind: string, ms = 15_000): Promise<Body> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.waiting.delete(look);
        reject(new Error(`no ${kind} event; there were ${JSON.stringify(this.events.slice(this.seen))}`));
      }, ms);
      const look = () => {
        const at = this.events.findIndex((one, n) => n >= this.seen && one.event === kind);
        if (at < 0) return;
        this.seen = at + 1;
        clearTimeout(timer);
        this.waiting.delete(look);
        resolve(this.events[at]!.body ?? {});
      };
      this.waiting.add(look);
      look();
    });
  }

  /** As an editor starts: what it can, launch, breakpoints, go. */
  async start(
    args: object,
    breakpoints: DebugProtocol.SourceBreakpoint[] = [],
    exceptions: object = { filters: [] },
  ): Promise<void> {
    await this.ok('initialize', {
      adapterID: 'teleport-env',
      pathFormat: 'path',
      linesStartAt1: true,
      columnsStartAt1: true,
    });
    await this.ok('launch', args);
    await this.event('initialized');
    await this.break((args as { program: string }).program, breakpoints);
    await this.ok('setExceptionBreakpoints', exceptions);
    await this.ok('configurationDone');
  }

  async break(path: string, breakpoints: DebugProtocol.SourceBreakpoint[]): Promise<Body[]> {
    return (await this.ok('setBreakpoints', { source: { path }, breakpoints })).breakpoints;
  }

  /** Presses a button, and says where it stops then: the line, and why. */
  async press(command: string, args: object = {}): Promise<[line: number, reason: string]> {
    await this.ok(command, { threadId: 1, ...args });
    return await this.stopped();
  }

  async stopped(): Promise<[line: number, reason: string]> {
    const { reason } = await this.event('stopped');
    return [await this.line(), reason];
  }

  async line(): Promise<number> {
    return (await this.ok('stackTrace', { threadId: 1 })).stackFrames[0].line;
  }

  async scope(name: string): Promise<Record<string, string>> {
    const rows = await this.rows(name);
    return Object.fromEntries(rows.map((row) => [row.name, row.value]));
  }

  async rows(name: string): Promise<DebugProtocol.Variable[]> {
    const { scopes } = await this.ok('scopes', { frameId: 1 });
    const found = scopes.find((one: { name: string }) => one.name === name);
    return (await this.ok('variables', { variablesReference: found.variablesReference })).variables;
  }

  output(category: string): string {
    return this.events
      .filter(({ event, body }) => event === 'output' && body.category === category)
      .map(({ body }) => body.output)
      .join('');
  }
}
