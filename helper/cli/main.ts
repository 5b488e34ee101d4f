import { Command, CommanderError } from 'commander';
import { version } from '../client/version.ts';
import { TeleportError } from '../protocol/errors.ts';
import { registerAll } from './commands/index.ts';
import { Context } from './context.ts';
import { shapeOf } from './define.ts';
import { asTeleportError, errorJson, errorText, exitCodeOf } from './failure.ts';
import { flushed, type Io, processIo, write } from './io.ts';
import { shorten } from './text.ts';

/** Runs one command line and answers its exit code. Never throws, never ends the process. */
export async function run(argv: string[], io: Io): Promise<number> {
  const { head, tail } = splitTail(argv);
  const ctx = new Context(io, tail);
  // Known before parsing, so that a mistake in the words is told in JSON as well.
  ctx.json = head.includes('--json');
  ctx.verbose = head.includes('--verbose');
  const broken = (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') ctx.unread.abort();
  };
  for (const stream of [io.stdout, io.stderr]) stream.on('error', broken);
  let help = '';
  try {
    await buildProgram(ctx, (text) => {
      help += text;
    }).parseAsync(head.length > 0 ? head : ['--help'], { from: 'user' });
    return ctx.exitCode;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) {
      await write(io.stdout, help);
      return 0;
    }
    const failure = error instanceof CommanderError ? fromCommander(error) : asTeleportError(error);
    if (ctx.json) await write(io.stdout, `${JSON.stringify(errorJson(failure, ctx.verbose))}\n`);
    else await write(io.stderr, errorText(failure, ctx.errorStyle, ctx.verbose));
    return exitCodeOf(failure);
  } finally {
    ctx.close();
    for (const stream of [io.stdout, io.stderr]) stream.off('error', broken);
  }
}

/** What comes after the first `--` is a command for inside, and none of our business. */
export function splitTail(argv: string[]): { head: string[]; tail?: string[] } {
  const at = argv.indexOf('--');
  return at < 0 ? { head: argv } : { head: argv.slice(0, at), tail: argv.slice(at + 1) };
}

/** The whole command line; what it prints as help goes to `help`. */
export function buildProgram(ctx: Context, help: (text: string) => void): Command {
  const program = new Command('teleport-env')
    .description('Undo for the whole machine: takes a sandbox back, files and live processes, to any earlier moment.')
    .version(version(), '-V, --version', 'show the version')
    .helpOption('-h, --help', 'show this help')
    .helpCommand('help [command]', 'show help for a command')
    .exitOverride()
    .configureOutput({ writeOut: help, writeErr: () => {} })
    .configureHelp({ subcommandTerm: (command) => `${command.name()} ${shapeOf(command)}`.trimEnd() })
    .addHelpText(
      'after',
      `
SANDBOX may be left out where the current folder has one. The words after -- are for inside.

Start here:
  $ teleport-env up                  a sandbox of this folder
  $ teleport-env run 'npm test'      run something in it; a checkpoint follows
  $ teleport-env log                 its checkpoints
  $ teleport-env rollback k1         go back to one, files and processes
  $ teleport-env undo                and forth again
  $ teleport-env apply               bring its files to the folder
`,
    )
    .showSuggestionAfterError();
  registerAll(program, ctx);
  return program;
}

function fromCommander(error: CommanderError): TeleportError {
  const message = shorten(error.message.replace(/^error: /, '').replace(/\n/g, ' '), 300);
  return new TeleportError('invalidRequest', message, { hint: 'teleport-env --help' });
}

if (require.main === module) {
  const io = processIo();
  run(process.argv.slice(2), io).then(async (code) => {
    // To a pipe, Node writes in the background, and exit() would cut it off.
    await Promise.all([flushed(io.stdout), flushed(io.stderr)]);
    process.exit(code);
  });
}
