/** Where a run stops. A position is a place between statements: position 2 is before the third. */
import type { DocumentStep } from '../../helper/protocol/bridge.ts';
import { t } from '../l10n.ts';
import { type Condition, type Facts, readCondition } from './conditions.ts';

export interface Breakpoint {
  /** Which statement. */
  step: number;
  /** Without: it stops before the statement; with: after it, where the condition holds. */
  condition: Condition | null;
}

/** What a statement turned out to be, as far as it is known. */
export type Known = (step: number) => Facts | undefined;

export class Breakpoints {
  private own: Breakpoint[] = [];
  /** On every statement: the editor's "caught exceptions". */
  private general: Condition[] = [];

  constructor(private readonly workspace: string) {}

  /** By lines from 0. @returns for each the statement it is on, or why it is on none */
  set(
    steps: readonly DocumentStep[],
    wanted: { line: number; condition?: string }[],
  ): ({ step: number } | { problem: string; step?: number })[] {
    this.own = [];
    return wanted.map(({ line, condition }) => {
      const step = stepAt(steps, line);
      if (step === null) return { problem: t('There is no statement here.') };
      try {
        const read = condition?.trim() ? readCondition(condition) : null;
        this.own.push({ step, condition: read });
        return { step };
      } catch (error) {
        return { step, problem: (error as Error).message };
      }
    });
  }

  setGeneral(conditions: string[]): void {
    this.general = conditions.map(readCondition);
  }

  get askChanges(): boolean {
    return [...this.general, ...this.own.map(({ condition }) => condition)].some((one) => one?.asksChanges);
  }

  /** Why a run stops at a position, if it does. */
  stopsAt(position: number, known: Known): 'breakpoint' | 'condition' | 'exception' | null {
    if (this.own.some(({ step, condition }) => step === position && condition === null)) return 'breakpoint';
    const facts = position > 0 ? known(position - 1) : undefined;
    if (!facts) return null;
    const holds = (condition: Condition | null) => condition?.holds(facts, this.workspace) ?? false;
    if (this.own.some(({ step, condition }) => step === position - 1 && holds(condition))) return 'condition';
    return this.general.some(holds) ? 'exception' : null;
  }
}

/** The statement that a line is in, or the next one. */
export function stepAt(steps: readonly DocumentStep[], line: number): number | null {
  const at = steps.findIndex(({ range }) => range.end.line >= line);
  return at < 0 ? null : at;
}
