/** Lenses, hovers, hints and diagnostics of a run document. Plain functions from what is known to what LSP wants. */
import type { CodeAction, CodeLens, Diagnostic, Hover, InlayHint, Range } from 'vscode-languageserver';
import { HAZARDS } from '../documents/hazards/index.ts';
import type { Position } from '../documents/model.ts';
import { outcomeText } from '../documents/run-document.ts';
import { positionIn, type ShownStep } from './view.ts';

/** Commands of the extension; they know these arguments. */
const COMMANDS = {
  runToHere: 'teleportEnv.runToHere',
  rollback: 'teleportEnv.rollback',
  showChanges: 'teleportEnv.showChanges',
  tryInFork: 'teleportEnv.tryInFork',
} as const;

// LSP's numbers: importing the constants would load the whole library.
const SEVERITY = { information: 3, hint: 4 } as const;
const SOURCE = 'Teleport Env';

export function lensesOf(uri: string, steps: ShownStep[]): CodeLens[] {
  return steps.flatMap(({ step, sandbox, before, after }): CodeLens[] => {
    const { line } = step.range.start;
    const range: Range = { start: step.range.start, end: step.range.start };
    const lens = (title: string, command: string, argument: object): CodeLens => ({
      range,
      command: { title, command, arguments: [argument] },
    });
    const lenses = [lens('Run to here', COMMANDS.runToHere, { uri, line })];
    if (sandbox !== null && before !== null) {
      lenses.push(lens('Roll back to before this', COMMANDS.rollback, { sandbox, checkpoint: before }));
      if (after !== null && after !== before)
        lenses.push(lens('Changes of this step', COMMANDS.showChanges, { sandbox, from: before, to: after }));
    }
    return lenses;
  });
}

export function hoverOf(steps: ShownStep[], at: Position): Hover | null {
  const found = steps.find(({ step: { range } }) => range.start.line <= at.line && at.line <= range.end.line);
  if (!found) return null;
  const { step, outcome, hazards } = found;
  const parts: string[] = [];
  const how = outcomeText(outcome);
  if (how) parts.push(`**${how}**`);
  if (step.note !== null) parts.push(plainText(step.note));
  for (const { kind, start, end } of hazards)
    if (within(at, positionIn(step, start), positionIn(step, end)))
      parts.push(`${HAZARDS[kind]} A rollback takes it back.`);
  if (parts.length === 0) return null;
  return { contents: { kind: 'markdown', value: parts.join('\n\n') }, range: step.range };
}

/** A note is somebody's words, not markup: no link or picture may come of it. */
function plainText(text: string): string {
  return text.replace(/[\\`*_{}[\]()#+\-.!|<>&~]/g, '\\$&').replace(/\n/g, '  \n');
}

function within(at: Position, start: Position, end: Position): boolean {
  const after = at.line > start.line || (at.line === start.line && at.character >= start.character);
  return after && (at.line < end.line || (at.line === end.line && at.character <= end.character));
}

/** Recorded outcomes stand in the document itself: only what a walk knows is hinted. */
export function hintsOf(steps: ShownStep[], range: Range): InlayHint[] {
  return steps.flatMap(({ step, outcome, walked }): InlayHint[] => {
    const { end } = step.range;
    const how = outcomeText(outcome);
    if (!walked || !how || end.line < range.start.line || end.line > range.end.line) return [];
    return [{ position: end, label: how, paddingLeft: true }];
  });
}

export function diagnosticsOf(steps: ShownStep[]): Diagnostic[] {
  return steps.flatMap(({ step, hazards }): Diagnostic[] => {
    const found = hazards.map(
      ({ kind, start, end, path }): Diagnostic => ({
        range: { start: positionIn(step, start), end: positionIn(step, end) },
        severity: SEVERITY.hint,
        source: SOURCE,
        code: kind,
        message: kind === 'overwrites' && path !== undefined ? `Overwrites ${path}, which git tracks.` : HAZARDS[kind],
      }),
    );
    if (step.broken)
      found.push({
        range: step.range,
        severity: SEVERITY.information,
        source: SOURCE,
        code: 'broken',
        message: 'The shell may not understand this.',
      });
    return found;
  });
}

/** *Try in a fork*, for every step with something dangerous in the range. */
export function actionsOf(uri: string, steps: ShownStep[], range: Range): CodeAction[] {
  const touches = (a: Range) => a.start.line <= range.end.line && range.start.line <= a.end.line;
  return steps
    .filter(({ step, hazards }) => hazards.length > 0 && touches(step.range))
    .map(({ step, ...rest }): CodeAction => {
      const argument = { uri, line: step.range.start.line, command: step.command };
      return {
        title: 'Try in a fork',
        kind: 'quickfix',
        isPreferred: true,
        diagnostics: diagnosticsOf([{ step, ...rest }]).filter(({ code }) => code !== 'broken'),
        command: { title: 'Try in a fork', command: COMMANDS.tryInFork, arguments: [argument] },
      };
    });
}
