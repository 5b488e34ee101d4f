/** What a process inside asks for, read from the words of its `teleport-env` command line. Whatever may stand in them. */
import { parseArgs } from 'node:util';
import { TeleportError } from '../../protocol/errors.ts';

export type Wish =
  | { verb: 'help' }
  | { verb: 'checkpoint'; label?: string; note?: string; expect?: string[]; json: boolean }
  | { verb: 'rollback'; checkpoint: string; expect?: string[]; json: boolean }
  | { verb: 'log'; limit: number; json: boolean }
  | { verb: 'status'; json: boolean }
  /** An agent's hook: the tool call comes as input. */
  | { verb: 'hook'; agent: string }
  /** An agent runs for as long as this ask is open. */
  | { verb: 'agent'; agent: string; quiet: boolean };

export const HELP = `Usage: teleport-env COMMAND, inside a sandbox

  checkpoint [--label TEXT] [--note TEXT]   keep this moment: files, processes, memory
  rollback CHECKPOINT                       go back there, this process included; where it was is kept
  log [--limit N]                           the checkpoints, newest first
  status                                    where this is

Both checkpoint and rollback take --expect k5,k7: where you will probably go next is prepared then, until it is given again; none ends it.
Each takes --json. A checkpoint that is gone back to answers once more, and says so ("restored": true).
What drops state, and what writes the real folder, can only be done from outside.
`;

const JSON_FLAG = { json: { type: 'boolean', default: false } } as const;
const EXPECT = { expect: { type: 'string' } } as const;
const LONGEST_LABEL = 1000;
const LONGEST_NOTE = 10_000;
const MOST_LINES = 1000;
const MOST_EXPECTED = 16;
const CHECKPOINT = /^k[0-9]{1,9}$/;

/** @throws TeleportError `invalidRequest` */
export function readWish(words: readonly string[]): Wish {
  const [verb = 'help', ...args] = words;
  try {
    return readVerb(verb, args);
  } catch (error) {
    if (error instanceof TeleportError) throw error;
    throw wrong((error as Error).message.split('. ')[0]!); // parseArgs goes on with advice for programmers
  }
}

function readVerb(verb: string, args: string[]): Wish {
  switch (verb) {
    case 'help':
    case '--help':
    case '-h':
      return { verb: 'help' };
    case 'checkpoint': {
      const options = { ...JSON_FLAG, ...EXPECT, label: { type: 'string' }, note: { type: 'string' } } as const;
      const { json, label, note, expect } = parseArgs({ args, options }).values;
      return {
        verb,
        json,
        ...(label === undefined ? {} : { label: label.slice(0, LONGEST_LABEL) }),
        ...(note === undefined ? {} : { note: note.slice(0, LONGEST_NOTE) }),
        ...expecting(expect),
      };
    }
    case 'rollback': {
      const { values, positionals } = parseArgs({ args, options: { ...JSON_FLAG, ...EXPECT }, allowPositionals: true });
      const [checkpoint] = positionals;
      if (positionals.length !== 1 || !CHECKPOINT.test(checkpoint!))
        throw wrong('one checkpoint is expected, such as k3', 'teleport-env log lists them');
      return { verb, checkpoint: checkpoint!, ...expecting(values.expect), json: values.json };
    }
    case 'log': {
      const options = { ...JSON_FLAG, limit: { type: 'string', default: '20' } } as const;
      const { json, limit } = parseArgs({ args, options }).values;
      if (!/^[1-9][0-9]{0,5}$/.test(limit)) throw wrong('--limit takes a whole number');
      return { verb, json, limit: Math.min(Number(limit), MOST_LINES) };
    }
    case 'status':
      return { verb, json: parseArgs({ args, options: JSON_FLAG }).values.json };
    case 'hook':
      return { verb, agent: args[0] ?? 'other' };
    case 'agent':
      return { verb, agent: args[0] ?? 'other', quiet: args.includes('quiet') };
    default:
      throw wrong(`${JSON.stringify(verb.slice(0, 60))} can't be asked for in here`, 'teleport-env help');
  }
}

function expecting(words: string | undefined): { expect?: string[] } {
  if (words === undefined) return {};
  const expect = words === 'none' ? [] : words.split(/, */);
  if (expect.length > MOST_EXPECTED || !expect.every((word) => CHECKPOINT.test(word)))
    throw wrong('--expect takes checkpoints, such as k5,k7, or none', 'teleport-env log lists them');
  return { expect };
}

function wrong(message: string, hint?: string): TeleportError {
  return new TeleportError('invalidRequest', message, { hint });
}
