/** A run document as an editor shows it: what is known of each of its steps, recorded or from a walk under way. */
import type { BridgeParsed, SteppedLine } from '../../protocol/bridge.ts';
import type { Hazard } from '../documents/hazards/index.ts';
import type { Outcome, Position, RunDocument, Step } from '../documents/model.ts';

export type Walked = BridgeParsed<'document/stepped'>;

export interface ShownStep {
  step: Step;
  outcome: Outcome;
  /** Where it can be gone back to, and what it made of that. */
  sandbox: string | null;
  before: string | null;
  after: string | null;
  /** A walk ran it, or stands at it. */
  walked: boolean;
  hazards: Hazard[];
}

/** What a walk knows goes before what was recorded. */
export function shown(document: RunDocument, walked: Walked | undefined, hazards: Hazard[][]): ShownStep[] {
  const byLine = new Map(walked?.steps.map((one) => [one.line, one]));
  return document.steps.map((step, at): ShownStep => {
    const live = byLine.get(step.range.start.line);
    const common = { step, hazards: hazards[at] ?? [] };
    if (live && walked)
      return {
        ...common,
        outcome: outcomeOf(live),
        sandbox: walked.sandbox,
        before: live.before,
        after: live.after,
        walked: true,
      };
    const before = document.steps[at - 1]?.outcome.checkpoint ?? null;
    const after = step.outcome.checkpoint ?? null;
    return { ...common, outcome: step.outcome, sandbox: document.sandbox, before, after, walked: false };
  });
}

function outcomeOf({ exitCode, durationMs, filesChanged, after }: SteppedLine): Outcome {
  const outcome: Outcome = {};
  if (exitCode !== null) outcome.exitCode = exitCode;
  if (durationMs !== null) outcome.durationMs = durationMs;
  if (filesChanged !== null) outcome.filesChanged = filesChanged;
  if (after !== null && exitCode !== null) outcome.checkpoint = after;
  return outcome;
}

/** From an offset in a step's command to its place in the document. */
export function positionIn(step: Step, offset: number): Position {
  const lines = step.command.slice(0, offset).split('\n');
  const { start } = step.range;
  const character = lines.at(-1)!.length + (lines.length === 1 ? start.character : 0);
  return { line: start.line + lines.length - 1, character };
}
