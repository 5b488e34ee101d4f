/** What a tool of the MCP server is, and how its answer reads. */
import type * as z from 'zod';
import { TeleportError } from '../../protocol/errors.ts';
import type { Room } from './room.ts';

export interface Call {
  room: Room;
  signal: AbortSignal;
  /** A line of progress, where the client asked for it. */
  progress(message: string): void;
}

export interface Answer {
  /** For the model to read. */
  text: string;
  /** The same as data. Some clients (VS Code) hand this on instead of the text. */
  data: Record<string, unknown>;
  /** The sandbox it was about. */
  sandbox: string;
}

export interface Tool<S extends z.ZodObject = z.ZodObject> {
  name: string;
  title: string;
  description: string;
  input: S;
  /** Something outside of the sandbox, or for good, may be lost. */
  destructive: boolean;
  readOnly: boolean;
  act(input: z.output<S>, call: Call): Promise<Answer>;
}

/** Checks input and action against each other, and forgets the difference, so that tools fit one list. */
export function tool<S extends z.ZodObject>(definition: Tool<S>): Tool {
  return definition as unknown as Tool;
}

/** What was asked and what stood in the way, then what to do. */
export function failureText(error: unknown): string {
  if (!(error instanceof TeleportError)) return error instanceof Error ? error.message : String(error);
  return [error.message, error.resource, error.hint && `Hint: ${error.hint}`].filter(Boolean).join('\n');
}

const LONGEST = 30_000;

/** Output that a model can take: the beginning and the end of what is too long. */
export function shortened(text: string): { text: string; leftOut: number } {
  if (text.length <= LONGEST) return { text, leftOut: 0 };
  const half = LONGEST / 2;
  const leftOut = text.length - LONGEST;
  return { text: `${text.slice(0, half)}\n… ${leftOut} characters left out …\n${text.slice(-half)}`, leftOut };
}

export function files(count: number): string {
  return `${count} ${count === 1 ? 'file' : 'files'} changed`;
}
