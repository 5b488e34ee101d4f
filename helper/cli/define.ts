import type { Command } from 'commander';
import type { Context } from './context.ts';

export interface CommandSpec<Options> {
  /** `rollback [SANDBOX] CHECKPOINT`, as people read it. Which word is which is settled in `target.ts`. */
  usage: string;
  summary: string;
  /** At least one call that works as it stands. */
  examples: string[];
  /** What its JSON object holds: keys, and words on them in brackets or after a semicolon. */
  answers?: string;
  options?: (command: Command) => Command;
  hidden?: boolean;
  /** It takes a command after `--`. */
  takesTail?: boolean;
  action: (ctx: Context, words: string[], options: Options & { sandbox?: string }) => Promise<void>;
}

/** What follows a command's name in the list of commands: its words, without the options that all have. */
export function shapeOf(command: Command): string {
  return command.usage().replace(/^\[options\] ?/, '');
}

const SPECS = new WeakMap<Command, Pick<CommandSpec<never>, 'usage' | 'examples' | 'answers'>>();

/** What it was defined by, for what is made of the definitions: completion, docs/commands.md. */
export function specOf(command: Command) {
  return SPECS.get(command);
}

/** Adds a command with what all commands share. */
export function define<Options>(program: Command, ctx: Context, spec: CommandSpec<Options>): void {
  const [name, ...shape] = spec.usage.split(' ');
  const command = program
    .command(name!, { hidden: spec.hidden })
    .summary(spec.summary)
    .description(sentence(spec.summary))
    .usage(['[options]', ...shape].join(' '))
    .argument('[words...]')
    .helpOption('-h, --help', 'show this help')
    .addHelpText('after', spec.answers ? `\nWith --json: ${spec.answers}` : '')
    .addHelpText('after', `\nExamples:\n${spec.examples.map((line) => `  $ teleport-env ${line}\n`).join('')}`);
  SPECS.set(command, spec);
  // The words are documented by the usage line.
  command.configureHelp({ visibleArguments: () => [] });
  spec.options?.(command);
  if (shape.includes('[SANDBOX]'))
    command.option('-s, --sandbox <sandbox>', 'the sandbox, where its name could be taken for something else');
  command.option('--json', 'print one JSON object').option('--verbose', 'say more: steps, and where an error arose');
  command.action(async (words: string[], options: Options & { sandbox?: string }) => {
    if (ctx.tail && !spec.takesTail) words = [...words, ...ctx.tail];
    await spec.action(ctx, words, options);
  });
}

function sentence(text: string): string {
  return `${text[0]!.toUpperCase()}${text.slice(1)}${/[.?!]$/.test(text) ? '' : '.'}`;
}
