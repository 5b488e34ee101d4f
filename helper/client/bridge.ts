/**
 * The client process of an editor window: a language server on stdio that passes the helper's protocol through, and
 * answers with the user's own rights what the daemon must not. The contract stands in `protocol/bridge.ts`.
 */
import { EventEmitter } from 'node:events';
import {
  createMessageConnection,
  ErrorCodes,
  type MessageConnection,
  ResponseError,
  StreamMessageReader,
  StreamMessageWriter,
} from 'vscode-jsonrpc/node';
import type { InitializeParams } from 'vscode-languageserver';
import { BRIDGE_METHODS, type BridgeMethod, type BridgeParsed, type BridgeResult } from '../protocol/bridge.ts';
import { TeleportError } from '../protocol/errors.ts';
import { METHODS, type Params } from '../protocol/methods.ts';
import { patchBetween, performPrepared, prepareApply } from './apply/index.ts';
import type { Connection } from './connection.ts';
import { withGit } from './create.ts';
import { toWire } from './errors.ts';
import { enterFollow, getFollow, setFollow, syncFollow } from './follow/index.ts';
import { Gateways } from './gateway/gateways.ts';
import { LanguageFeatures } from './language/index.ts';
import { measureWorkspace } from './measure.ts';
import { postCreateCommand } from './on-create.ts';
import { connectOrStart } from './start.ts';
import { version } from './version.ts';

/** LSP's MessageType. */
const WARNING = 2;

type Handler<M extends BridgeMethod> = (params: BridgeParsed<M>, signal: AbortSignal) => Promise<BridgeResult<M>>;

/** Serves until the input ends or `exit` comes. Answers the exit code: 1 where `exit` came without `shutdown`, as LSP says. */
export async function bridge(
  input: NodeJS.ReadableStream,
  output: NodeJS.WritableStream,
  env: NodeJS.ProcessEnv = process.env,
): Promise<number> {
  const editor = createMessageConnection(new StreamMessageReader(input), new StreamMessageWriter(output));
  const daemon = new DaemonLink(editor, env);
  const language = new LanguageFeatures(editor);
  const gateways = new Gateways(env);
  const ended = new EventEmitter();
  let wasShutDown = false;

  editor.onRequest('initialize', (params: InitializeParams) => ({
    capabilities: language.begin(params),
    serverInfo: { name: 'teleport-env', version: version() },
  }));
  editor.onRequest('shutdown', () => {
    wasShutDown = true;
    return null;
  });
  editor.onNotification('exit', () => {
    ended.emit('end', wasShutDown ? 0 : 1);
  });
  editor.onClose(() => {
    ended.emit('end', 0);
  });

  const own: { [M in BridgeMethod]: Handler<M> } = {
    'teleport/handshake': ({ client, start }) => daemon.handshake(client, start),
    'workspace/measure': (params, signal) => measureWorkspace(params, signal),
    'workspace/onCreate': async ({ workspace }) => ({ command: (await postCreateCommand(workspace)) ?? null }),
    'apply/plan': async (params, signal) => {
      const { plan, to, from } = await prepareApply(daemon, params, { env, signal });
      return { to, from, changes: plan.steps.map((step) => step.change), left: plan.left };
    },
    'apply/perform': async ({ paths, force, progress, ...params }, signal) => {
      const prepared = await prepareApply(daemon, params, { env, signal });
      const onProgress = (message: string, done: number, total: number) => {
        if (progress !== undefined) void editor.sendNotification('progress', { token: progress, message, done, total });
      };
      const done = await performPrepared(prepared, { paths, force }, { env, signal, onProgress });
      const { conflicts, failed } = done;
      return { to: prepared.to, applied: done.applied.map((change) => change.path), conflicts, failed };
    },
    'apply/patch': (params, signal) => patchBetween(daemon, params, { signal }),
    'git/fetch': async (params, signal) => {
      const { fetchCommits, targetOf } = await import('./git/arrive.ts');
      const target = await targetOf(daemon, params, { env, signal });
      const { head, current } = target.sandbox;
      return (await fetchCommits(daemon, target, params.from ?? head ?? current)).arrived;
    },
    'git/branch': async (params, signal) =>
      (await import('./git/branch.ts')).branchFromSandbox(daemon, params, { env, signal }),
    'follow/get': (params) => getFollow(daemon, params, { env }),
    'follow/set': (params) => setFollow(daemon, params, { env }),
    'follow/sync': (params, signal) => syncFollow(daemon, params, { env, signal }),
    'follow/enter': (params, signal) => enterFollow(daemon, params, { env, signal }),
    'agent/look': async ({ agent }) => {
      const { namedAgent, signInOf } = await import('./agents/index.ts');
      return signInOf(namedAgent(agent), env.HOME ?? '/', env);
    },
    'agent/prepare': async ({ sandbox, ...wanted }) =>
      await (await import('./agents/index.ts')).prepareAgent(daemon.connection, { sandbox }, env, wanted),
    'document/read': async ({ text }) => (await import('./documents/read.ts')).readDocument(text),
    'document/record': async (params) => (await import('./language/record.ts')).recordRun(daemon, params),
    'document/stepped': async (walk) => {
      language.stepped(walk);
      return {};
    },
    'gateway/start': ({ sandbox, settings }) => gateways.start(daemon.connection, sandbox, settings),
    'gateway/stop': ({ sandbox }) => gateways.stop(sandbox),
    'gateway/transcripts': async (params) => ({
      transcripts: await (await import('./gateway/transcript.ts')).transcriptsOf(daemon, params.sandbox, env),
    }),
  };
  editor.onRequest(async (method, params, token) => {
    const abort = new AbortController();
    token.onCancellationRequested(() => abort.abort());
    try {
      const first = Array.isArray(params) ? params[0] : params;
      if (method in BRIDGE_METHODS) return await answer(own, method as BridgeMethod, first, abort.signal);
      if (method === 'sandbox/create') {
        const asked = first as Params<'sandbox/create'>;
        // Where this process is, the tools are that the sandbox may see; the editor may be elsewhere.
        const tools: Record<string, string> = env.PATH === undefined ? {} : { PATH: env.PATH };
        const { params, notes } = await withGit({ ...asked, env: { ...tools, ...asked.env } }, env, abort.signal);
        for (const message of notes) void editor.sendNotification('window/showMessage', { type: WARNING, message });
        return await daemon.forward(method, params, { signal: abort.signal });
      }
      if (method in METHODS) return await daemon.forward(method, first, { signal: abort.signal });
      return new ResponseError(ErrorCodes.MethodNotFound, `unknown method ${method}`);
    } catch (error) {
      return toWire(error);
    }
  });
  editor.listen();
  const code: number = await new Promise((resolve) => ended.once('end', resolve));
  daemon.close();
  editor.dispose();
  return code;
}

async function answer<M extends BridgeMethod>(
  own: { [K in BridgeMethod]: Handler<K> },
  method: M,
  params: unknown,
  signal: AbortSignal,
): Promise<BridgeResult<M>> {
  const parsed = BRIDGE_METHODS[method].params.safeParse(params ?? {});
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new TeleportError('invalidRequest', `${method}: ${issue?.path.join('.')} ${issue?.message}`);
  }
  return await own[method](parsed.data as BridgeParsed<M>, signal);
}

/** The one connection to the daemon, made when asked for. */
class DaemonLink {
  #connection: Connection | undefined;
  #attempt: Promise<Connection> | undefined;

  constructor(
    private readonly editor: MessageConnection,
    private readonly env: NodeJS.ProcessEnv,
  ) {}

  async handshake(client: string, start: boolean): Promise<BridgeResult<'teleport/handshake'>> {
    if (this.#connection) {
      const { needs } = await this.#connection.request('doctor', {});
      return { ...this.#connection.helper, needs };
    }
    this.#attempt ??= this.#connect(client, start).finally(() => {
      this.#attempt = undefined;
    });
    return (await this.#attempt).helper;
  }

  forward: Connection['forward'] = (method, params, options) => this.#get().forward(method, params, options);
  request: Connection['request'] = (method, params, options) => this.#get().request(method, params, options);

  /** @throws TeleportError `noHelper` */
  get connection(): Connection {
    return this.#get();
  }

  close(): void {
    const connection = this.#connection;
    this.#connection = undefined;
    connection?.close();
  }

  #get(): Connection {
    if (this.#connection) return this.#connection;
    throw new TeleportError('noHelper', 'there is no connection to the helper');
  }

  async #connect(client: string, start: boolean): Promise<Connection> {
    const connection = await connectOrStart({ client, env: this.env, start });
    this.#connection = connection;
    connection.onAny((method, params) => {
      // A gateway in this process is told byte by byte; the editor need not be.
      if (!method.startsWith('gateway/')) void this.editor.sendNotification(method, params);
    });
    connection.lost.addEventListener('abort', () => {
      if (this.#connection !== connection) return;
      this.#connection = undefined;
      void this.editor.sendNotification('teleport/lost', { message: 'the helper has ended' });
    });
    return connection;
  }
}
