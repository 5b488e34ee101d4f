/** The tools, in the order in which an agent needs them. */
import type { Tool } from './tool.ts';
import { apply } from './tools/apply.ts';
import { diff, log } from './tools/look.ts';
import { checkpoint, discardFork, fork, keepFork, rollback } from './tools/moments.ts';
import { create, run } from './tools/work.ts';

export const TOOLS: readonly Tool[] = [
  create,
  run,
  checkpoint,
  rollback,
  fork,
  keepFork,
  discardFork,
  diff,
  log,
  apply,
];
