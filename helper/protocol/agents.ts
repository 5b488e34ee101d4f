/**
 * Agents that can be run inside a sandbox, as data (agents.json): all that differs between them stands there, and a new one
 * is a new entry. `source` says where that was read; check there when an agent changes.
 */
import * as z from 'zod';
import table from './agents.json';

/** Where the program `teleport-env` is inside; see helper/native/ask.c. */
export const INSIDE_BIN = '/.teleport-env/bin';
export const INSIDE_PROGRAM = `${INSIDE_BIN}/teleport-env`;

/** Below the user's home. */
const HomePath = z
  .string()
  .regex(/^[^/]/)
  .refine((path) => !path.split('/').includes('..'), 'it stays below the home');
const hook = {
  file: HomePath,
  /** One for each tool call, and those that failed where the agent tells of them apart. */
  events: z.array(z.string()).min(1),
  /** How long the agent waits for it; seconds or milliseconds, as the agent has it. */
  timeout: z.number(),
};

/** How an agent tells of each tool call. */
export const Hooks = z.discriminatedUnion('kind', [
  /** JSON with `hooks`: event names, each with groups of commands that get the call as JSON on standard input. */
  z.strictObject({ kind: z.literal('settings'), ...hook }),
  /** A file of its own, `{version: 1, hooks: {event: [{type: 'command', bash}]}}`. */
  z.strictObject({ kind: z.literal('file'), ...hook }),
  /** A module of JavaScript whose default export has functions that take the events. */
  z.strictObject({ kind: z.literal('plugin'), ...hook }),
  z.strictObject({ kind: z.literal('none') }),
]);

export const Agent = z.strictObject({
  id: z.string().regex(/^[a-z0-9-]+$/),
  name: z.string().min(1),
  /** The program, found on the user's PATH; null: asked for. */
  binary: z.string().nullable(),
  /** Its configuration and sign-in: files, and folders of small ones. Copied in when the user agrees; need not exist. */
  config: z.array(HomePath),
  /** Passed in where they are set, keys among them. */
  variables: z.array(z.string().regex(/^[A-Z][A-Z0-9_]*$/)),
  /** What it has to reach. */
  hosts: z.array(z.string()),
  hooks: Hooks,
  /** Steps are found by watching for files that came to rest: it has no hooks, or they can't be relied on. */
  quiet: z.boolean(),
  /** Turns off the agent's own sandbox, which can't nest in ours and is not needed there. */
  withoutOwnSandbox: z.strictObject({ args: z.array(z.string()), env: z.record(z.string(), z.string()) }),
  source: z.string(),
});
export type Agent = z.infer<typeof Agent>;

export const AGENTS: readonly Agent[] = z.array(Agent).parse(table);

export function agentById(id: string): Agent | undefined {
  return AGENTS.find((agent) => agent.id === id);
}
