import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { registerAgent } from './agent.ts';
import { registerApply } from './apply.ts';
import { registerAsShell } from './as-shell.ts';
import { registerBench } from './bench.ts';
import { registerBisect } from './bisect.ts';
import { registerCheckpoint } from './checkpoint.ts';
import { registerCompletion } from './completion.ts';
import { registerExec } from './exec.ts';
import { registerFork } from './fork.ts';
import { registerForward } from './forward.ts';
import { registerGateway } from './gateway.ts';
import { registerGit } from './git.ts';
import { registerLook } from './look.ts';
import { registerMcp } from './mcp.ts';
import { registerNetwork } from './network.ts';
import { registerProcesses } from './processes.ts';
import { registerRun } from './run.ts';
import { registerSandbox } from './sandbox.ts';
import { registerShell } from './shell.ts';
import { registerUpkeep } from './upkeep.ts';

/** In the order of the help text. */
export function registerAll(program: Command, ctx: Context): void {
  const groups: [string, (program: Command, ctx: Context) => void][] = [
    ['Sandboxes:', registerSandbox],
    ['Sandboxes:', registerNetwork],
    ['Work inside:', registerRun],
    ['Work inside:', registerExec],
    ['Work inside:', registerShell],
    ['Work inside:', registerAgent],
    ['Work inside:', registerAsShell],
    ['Work inside:', registerForward],
    ['Work inside:', registerGateway],
    ['Go back and forth:', registerCheckpoint],
    ['Go back and forth:', registerFork],
    ['Go back and forth:', registerBisect],
    ['Look and take:', registerLook],
    ['Look and take:', registerApply],
    ['Look and take:', registerGit],
    ['The helper:', registerUpkeep],
    ['The helper:', registerProcesses],
    ['The helper:', registerMcp],
    ['The helper:', registerBench],
    ['The helper:', registerCompletion],
  ];
  for (const [heading, register] of groups) {
    program.commandsGroup(heading);
    register(program, ctx);
  }
}
