/** What the documents of an agent run have in common. Lines and characters count from 0, characters in UTF-16, as in LSP. */

export interface Position {
  line: number;
  character: number;
}

export interface Range {
  start: Position;
  end: Position;
}

/** How a step went when it was recorded; what is not known is left out. */
export interface Outcome {
  exitCode?: number;
  durationMs?: number;
  filesChanged?: number;
  /** The checkpoint taken after it. */
  checkpoint?: string;
}

/** One step before it has a place in a document. */
export interface RecordedStep {
  /** What the shell is given. */
  command: string;
  /** The thought behind it, or what else there is to say. */
  note: string | null;
  outcome: Outcome;
}

/** One step of a document. */
export interface Step extends RecordedStep {
  /** From the first character of its command to the last. */
  range: Range;
  /** The shell will not understand it. */
  broken: boolean;
}

/** `run`: our own format; `shell`: a script; the others are transcripts, shown as a run document. */
export type Format = 'run' | 'shell' | 'claude-code' | 'swe-agent' | 'openai';

export interface RunDocument {
  format: Format;
  title: string | null;
  /** The sandbox that it was recorded in. */
  sandbox: string | null;
  /** What the ranges refer to: the text itself, or for a transcript the run document made of it. */
  text: string;
  steps: Step[];
}
