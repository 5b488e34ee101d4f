/**
 * What a program in the machine says of its files, in the words of this host: problem matchers read a task's output, and
 * know only paths that are here. Plain functions.
 */
import { WORKSPACES } from './workspace/paths.ts';

/** Text in whatever pieces it comes, and the rest at the end. */
export interface OutputMap {
  push(text: string): string;
  /** What was kept back because a path may have been cut in two. */
  end(): string;
}

/** What may stand before a path: nothing that would belong to it, or the end of a colour. */
const BEFORE = '(?:(?<![\\p{L}\\p{N}_./-])|(?<=\\x1b\\[[\\d;]*m))';
/** Until a blank, or what compilers put around and after paths. */
const PATH = new RegExp(`${BEFORE}${WORKSPACES}/[^\\s'"\`:;,()<>|*?\\x1b]+`, 'gu');
/** At the end of a piece: a path that may go on, or the beginning of one. */
const UNFINISHED = new RegExp(`(?:${WORKSPACES}/[^\\s'"\`:;,()<>|*?\\x1b]*|${beginnings(WORKSPACES)})$`, 'u');
/** No path is longer; what looks like one is let go. */
const LONGEST = 4096;

/** Of what was let go already, so much is looked at: a colour. */
const LONGEST_BEFORE = 20;

/** @param toHost null where a path is the machine's own */
export function pathsOfThisHost(toHost: (path: string) => string | null): OutputMap {
  let kept = '';
  // What stood before says whether a path begins: `src` and then `/workspaces/a` is none.
  let before = '';
  const mapped = (text: string) => {
    const there = (before + text).replace(PATH, (path) => hostPath(path, toHost)).slice(before.length);
    before = (before + text).slice(-LONGEST_BEFORE);
    return there;
  };
  return {
    push: (text) => {
      const all = kept + text;
      const found = all.match(UNFINISHED);
      kept = found && found[0].length <= LONGEST ? found[0] : '';
      return mapped(all.slice(0, all.length - kept.length));
    },
    end: () => {
      const last = mapped(kept);
      kept = '';
      return last;
    },
  };
}

/** A full stop ends a sentence and a bracket a note; they are no part of the path where nothing comes after them. */
function hostPath(path: string, toHost: (path: string) => string | null): string {
  const bare = path.replace(/[.\]}]+$/, '');
  const host = toHost(bare);
  return host === null ? path : host + path.slice(bare.length);
}

/** `/workspaces` as a pattern for each of its beginnings: `/w(?:o(?:r…)?)?`. */
function beginnings(word: string): string {
  return [...word].reduceRight((rest, letter) => (rest === '' ? letter : `${letter}(?:${rest})?`), '');
}
