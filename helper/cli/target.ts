/** Which sandbox is meant, and what the other words of a command line are. Plain functions. */
import { TeleportError } from '../protocol/errors.ts';
import type { Sandbox } from '../protocol/model.ts';
import { brief, printable } from './text.ts';

const CHECKPOINT = /^k[0-9]{1,9}$/;
const BRANCH = /^b[0-9]{1,9}$/;
const PLACE = /^[kb][0-9]{1,9}$/;

/**
 * The sandbox that is meant: by id or name, or the only one of the current folder. Of sandboxes one inside another the
 * innermost is meant.
 */
export function chooseSandbox(sandboxes: Sandbox[], named: string | undefined, cwd: string): Sandbox {
  if (named !== undefined) {
    const matches = sandboxes.filter(({ id }) => id === named);
    if (matches.length === 0) matches.push(...sandboxes.filter(({ name }) => name === named));
    return single(matches, () => {
      throw new TeleportError('unknownSandbox', `there is no sandbox ${brief(named)}`, {
        hint: 'teleport-env list shows yours',
      });
    });
  }
  const around = sandboxes.filter(({ workspace }) => contains(workspace, cwd));
  const deepest = Math.max(...around.map(({ workspace }) => workspace.length));
  return single(
    around.filter(({ workspace }) => workspace.length === deepest),
    () => {
      throw new TeleportError('unknownSandbox', 'the current folder has no sandbox', {
        hint: 'name one, or start one here: teleport-env up',
      });
    },
  );
}

function single(matches: Sandbox[], none: () => never): Sandbox {
  if (matches.length > 1) {
    const names = matches.map(({ id, name }) => `${id} (${printable(name)})`).join(', ');
    throw new TeleportError('ambiguousSandbox', `more than one sandbox is meant: ${names}`, {
      hint: 'name one by its id',
    });
  }
  return matches[0] ?? none();
}

export function contains(folder: string, path: string): boolean {
  return path === folder || path.startsWith(folder === '/' ? '/' : `${folder}/`);
}

/** At most one word, which may be given by an option instead. */
export function only(words: string[], given?: string): string | undefined {
  if (words.length > (given === undefined ? 1 : 0))
    throw new TeleportError(
      'invalidRequest',
      `unexpected: ${words
        .slice(given === undefined ? 1 : 0)
        .map(brief)
        .join(' ')}`,
    );
  return given ?? words[0];
}

/** `[SANDBOX]` and a number of further words: the sandbox is there when there is one word more. */
export function splitWords(words: string[], rest: string[], given?: string): { sandbox?: string; rest: string[] } {
  const most = given === undefined ? rest.length + 1 : rest.length;
  if (words.length < rest.length || words.length > most)
    throw new TeleportError('invalidRequest', `expected ${given === undefined ? '[SANDBOX] ' : ''}${rest.join(' ')}`);
  if (given !== undefined || words.length === rest.length) return { sandbox: given, rest: words };
  return { sandbox: words[0], rest: words.slice(1) };
}

/** `[SANDBOX] FROM [TO]`: of two words the first is a place where it looks like one. `--sandbox` settles it. */
export function splitDiff(words: string[], given?: string): { sandbox?: string; from: string; to?: string } {
  const withTo = words.length === 3 || (words.length === 2 && (given !== undefined || PLACE.test(words[0]!)));
  const { sandbox, rest } = splitWords(words, withTo ? ['FROM', 'TO'] : ['FROM'], given);
  const [from, to] = rest.map(asPlace);
  return { sandbox, from: from!, to };
}

export function asBranch(word: string): string {
  if (BRANCH.test(word)) return word;
  throw new TeleportError('unknownBranch', `there is no live fork ${brief(word)}: it looks like b3`);
}

export function asCheckpoint(word: string): string {
  if (CHECKPOINT.test(word)) return word;
  throw new TeleportError('unknownCheckpoint', `${brief(word)} is no checkpoint`, {
    hint: 'a checkpoint looks like k3; teleport-env log shows them',
  });
}

/** `k3,k5`, or `none`, which takes back what was said before. Not so an empty word: that comes from a variable that is not set. */
export function asCheckpoints(words: string | undefined): string[] | undefined {
  if (words === undefined) return undefined;
  return words === 'none' ? [] : words.split(/, */).map(asCheckpoint);
}

export function asPlace(word: string): string {
  if (PLACE.test(word)) return word;
  throw new TeleportError('unknownCheckpoint', `${brief(word)} is neither a checkpoint (k3) nor a branch (b2)`, {
    hint: 'teleport-env log shows them',
  });
}
