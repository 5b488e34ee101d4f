/**
 * When a breakpoint stops, in words that are quick to type: `exit != 0`, `exit == 2`, `changed src/**`, several joined by `and`
 * (all must hold) or `or`. Exit code and changed paths are the statement's own, so it stops right after it.
 */
import { t } from '../l10n.ts';

/** How a statement went. */
export interface Facts {
  exitCode: number;
  /** Absolute. Null: not asked for yet. */
  changed: readonly string[];
}

export interface Condition {
  /** Whether changed paths have to be known. */
  asksChanges: boolean;
  holds(facts: Facts, workspace: string): boolean;
}

const EXIT = /^exit(?:code)?\s*(==?=?|!==?|<=?|>=?)\s*(\d{1,3})$/i;
const FAILED = /^failed$/i;
const CHANGED = /^changed\s+(\S.*)$/i;

/** @throws Error with what would be understood */
export function readCondition(text: string): Condition {
  const any = text.trim().split(/\s+(?:or|\|\|)\s+/i);
  const all = any.map((part) => part.split(/\s+(?:and|&&)\s+/i).map(readTerm));
  return {
    asksChanges: all.flat().some((term) => term.asksChanges),
    holds: (facts, workspace) => all.some((terms) => terms.every((term) => term.holds(facts, workspace))),
  };
}

function readTerm(text: string): Condition {
  const exit = EXIT.exec(text.trim());
  if (exit) {
    const wanted = Number(exit[2]);
    return { asksChanges: false, holds: ({ exitCode }) => compare(exitCode, exit[1]!, wanted) };
  }
  if (FAILED.test(text.trim())) return { asksChanges: false, holds: ({ exitCode }) => exitCode !== 0 };
  const changed = CHANGED.exec(text.trim());
  if (changed) return changedTerm(changed[1]!.replace(/^(['"])(.*)\1$/, '$2'));
  throw new Error(t('“{0}” is no condition. Try: exit != 0, or changed src/**', text.trim()));
}

function changedTerm(glob: string): Condition {
  const pattern = globPattern(glob);
  const plain = !glob.includes('/');
  return {
    asksChanges: true,
    holds: ({ changed }, workspace) =>
      changed.some((path) => {
        if (glob.startsWith('/')) return pattern.test(path);
        if (plain && pattern.test(path.slice(path.lastIndexOf('/') + 1))) return true;
        return path.startsWith(`${workspace}/`) && pattern.test(path.slice(workspace.length + 1));
      }),
  };
}

function compare(value: number, operator: string, wanted: number): boolean {
  switch (operator[0]! + (operator.length > 1 ? '=' : '')) {
    case '==':
    case '=':
      return value === wanted;
    case '!=':
      return value !== wanted;
    case '<=':
      return value <= wanted;
    case '>=':
      return value >= wanted;
    case '<':
      return value < wanted;
    default:
      return value > wanted;
  }
}

/** `*` within a folder, `**` across folders, `?`, `{a,b}`. A folder's name means what is in it, too. */
export function globPattern(glob: string): RegExp {
  const source = glob.replace(/\/+$/, '').replace(/\*\*\/?|[*?{},]|[^*?{},]+/g, (part) => {
    if (part === '**/') return '(?:.*/)?';
    if (part === '**') return '.*';
    if (part === '*') return '[^/]*';
    if (part === '?') return '[^/]';
    if (part === '{') return '(?:';
    if (part === '}') return ')';
    if (part === ',') return '|';
    return part.replace(/[.+^$()|[\]\\]/g, '\\$&');
  });
  try {
    return new RegExp(`^(?:${source})(?:/.*)?$`, 's');
  } catch {
    // Braces that do not pair are meant as they stand.
    return new RegExp(`^${glob.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}$`);
  }
}
