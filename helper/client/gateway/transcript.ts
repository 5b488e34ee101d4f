/**
 * Conversations with models as documents: each is one file of OpenAI-style messages, which the stepping debugger opens. A request
 * that goes on from the last one replaces that file with more; one that does not (the agent was rolled back, or began anew)
 * begins another, so nothing is lost.
 */
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import type { BridgeResult } from '../../protocol/bridge.ts';
import type { Requester } from '../connection.ts';
import { fromAnthropic } from './answer.ts';
import type { Api } from './provider.ts';

type Json = Record<string, unknown>;

/** Conversations kept of a sandbox, the newest. */
const KEPT = 200;
/** Those that may still go on. */
const OPEN = 50;

interface Conversation {
  file: string;
  /** Of each message that was sent, in order. */
  sums: string[];
}

/** Below the user's own state, readable by nobody else: prompts hold whatever the agent read. */
export function transcriptFolder(sandbox: string, env: NodeJS.ProcessEnv): string {
  const state = env.XDG_STATE_HOME?.startsWith('/') ? env.XDG_STATE_HOME : join(env.HOME ?? homedir(), '.local/state');
  return join(state, 'teleport-env/transcripts', sandbox.replace(/[^A-Za-z0-9._-]/g, '_').replace(/^\.+/, '_'));
}

/** The messages of a request, as OpenAI has them. */
export function sentMessages(api: Api, body: Json): Json[] {
  const list = (value: unknown): Json[] =>
    Array.isArray(value) ? value.filter((one): one is Json => typeof one === 'object' && one !== null) : [];
  const system = (value: unknown): Json[] => (value ? [{ role: 'system', content: value }] : []);
  if (api === 'chat') return list(body.messages);
  if (api === 'messages') return [...system(body.system), ...list(body.messages).flatMap(fromAnthropic)];
  if (api !== 'responses') return [];
  const input = typeof body.input === 'string' ? [{ role: 'user', content: body.input }] : list(body.input);
  return [...system(body.instructions), ...input];
}

/** What a client moves from message to message without meaning another one. */
export function sumOf(message: Json): string {
  const text = JSON.stringify(message, (key, value) => (key === 'cache_control' ? undefined : value));
  return createHash('sha256').update(text).digest('base64');
}

export function goesOn(before: string[], now: string[]): boolean {
  return before.length <= now.length && before.every((sum, at) => sum === now[at]);
}

export class Transcripts {
  private readonly folder: string;
  private conversations: Conversation[] = [];
  /** Responses that a later one may refer to instead of repeating what they said. */
  private readonly byResponse = new Map<string, Json[]>();
  private work: Promise<void> = Promise.resolve();

  constructor(folder: string) {
    this.folder = folder;
  }

  /** One exchange is over. Files are written one after the other. */
  add(api: Api, request: Json, said: Json[], response: string | null): Promise<void> {
    const earlier =
      typeof request.previous_response_id === 'string' ? this.byResponse.get(request.previous_response_id) : [];
    const sent = [...(earlier ?? []), ...sentMessages(api, request)];
    if (!sent.length) return this.work;
    const messages = [...sent, ...said];
    if (response !== null) this.remember(response, messages);
    const sums = sent.map(sumOf);
    const last = this.conversations.findLast((one) => goesOn(one.sums, sums));
    const conversation = last ?? { file: this.freshName(), sums };
    conversation.sums = sums;
    this.conversations = [...this.conversations.filter((one) => one !== conversation), conversation].slice(-OPEN);
    const text = `${JSON.stringify({ model: request.model ?? null, messages }, null, 1)}\n`;
    this.work = this.work.then(() => this.write(conversation.file, text));
    return this.work;
  }

  private remember(response: string, messages: Json[]): void {
    this.byResponse.set(response, messages);
    for (const id of this.byResponse.keys()) if (this.byResponse.size > OPEN) this.byResponse.delete(id);
  }

  private freshName(): string {
    const time = new Date().toISOString().slice(0, 19).replace(/:/g, '-');
    return `${time}-${randomBytes(3).toString('hex')}.json`;
  }

  private async write(name: string, text: string): Promise<void> {
    await mkdir(this.folder, { recursive: true, mode: 0o700 });
    const aside = join(this.folder, `.${name}.new`);
    await writeFile(aside, text, { mode: 0o600 });
    await rename(aside, join(this.folder, name));
    const names = (await readdir(this.folder)).filter((one) => one.endsWith('.json')).sort();
    for (const old of names.slice(0, -KEPT)) await rm(join(this.folder, old), { force: true });
  }
}

export async function transcriptsOf(helper: Requester, sandbox: string, env: NodeJS.ProcessEnv) {
  const { id, name } = (await helper.request('sandbox/get', { sandbox })).sandbox;
  return await listTranscripts(transcriptFolder(`${name}-${id}`, env));
}

/** What is kept of a sandbox, newest first. */
export async function listTranscripts(folder: string): Promise<BridgeResult<'gateway/transcripts'>['transcripts']> {
  const names = await readdir(folder).catch(() => []);
  const found = await Promise.all(
    names
      .filter((name) => /^[^.].*\.json$/.test(name))
      .map(async (name) => {
        const file = join(folder, name);
        const [text, { mtimeMs }] = await Promise.all([readFile(file, 'utf8'), stat(file)]);
        const { readDocument } = await import('../documents/read.ts');
        const { title, steps } = await readDocument(text);
        return { file, title, steps: steps.length, changedAt: new Date(mtimeMs).toISOString() };
      }),
  );
  return found.sort((a, b) => (a.changedAt < b.changedAt ? 1 : -1));
}
