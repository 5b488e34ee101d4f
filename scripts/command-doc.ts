/**
 * docs/commands.md, made from the definitions that `--help` is made from.
 *
 *   tsx scripts/command-doc.ts           writes it
 *   tsx scripts/command-doc.ts --check   fails where it is not up to date
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { Context } from '../helper/cli/context.ts';
import { specOf } from '../helper/cli/define.ts';
import { processIo } from '../helper/cli/io.ts';
import { buildProgram } from '../helper/cli/main.ts';

const file = join(resolve(__dirname, '..'), 'docs/commands.md');

function cell(text: string): string {
  return text.replaceAll('|', '\\|');
}

/** Those of `git fetch` are `fetch`, and where it is. */
function pathOf(command: Command): string {
  return command.parent?.parent ? `${command.parent.name()} ` : '';
}

function section(command: Command): string[] {
  const { usage, examples = [], answers } = specOf(command)!;
  const help = command.createHelp();
  const options = help.visibleOptions(command).filter(({ long }) => !['--help', '--json', '--verbose'].includes(long!));
  const table = options.map((option) => `| \`${cell(option.flags)}\` | ${cell(help.optionDescription(option))} |`);
  return [
    `### ${pathOf(command)}${command.name()}`,
    '',
    command.description(),
    '',
    '```',
    `teleport-env ${pathOf(command)}${usage}`,
    '```',
    '',
    ...(table.length ? ['| option | |', '| --- | --- |', ...table, ''] : []),
    ...(answers ? [`With \`--json\`: ${answers}.`, ''] : []),
    '```',
    ...examples.map((line) => `$ teleport-env ${line}`),
    '```',
    '',
  ];
}

function document(): string {
  const program = buildProgram(new Context(processIo(), undefined), () => {});
  const help = program.createHelp();
  const lines = [
    '# Commands',
    '',
    '<!-- Made by scripts/command-doc.ts from helper/cli/commands: change it there. -->',
    '',
    'SANDBOX is a name or an id, and may be left out where the current folder has one sandbox. CHECKPOINT is an id such as `k3`;',
    'FROM and TO are a checkpoint or a live fork (`b2`). What comes after `--` is for inside.',
    '',
    'Each command takes `--json` (one JSON object on standard output and nothing else there), `--verbose` (steps, and where an error',
    'arose) and `--help`. It exits with 0; with 1 for what the caller did wrong, 2 for what the machine lacks, 3 for a fault of ours;',
    '`exec`, `run`, `try` and `shell`, without `--json`, with the exit code of what ran inside. An error is one line, and with',
    '`--json` `{"error":{"code","message","hint"}}`, the codes being those of [the protocol](protocol.md#errors).',
    '',
  ];
  let group = '';
  for (const top of help.visibleCommands(program)) {
    const commands = [top, ...top.commands].filter(specOf);
    if (commands.length > 0 && top.helpGroup() !== group) {
      group = top.helpGroup();
      lines.push(`## ${group.replace(/:$/, '')}`, '');
    }
    for (const command of commands) lines.push(...section(command));
  }
  return `${lines.join('\n').trimEnd()}\n`;
}

const text = document();
if (process.argv.includes('--check')) {
  if (!existsSync(file) || readFileSync(file, 'utf8') !== text) {
    console.error('docs/commands.md is not what the definitions say: run npx tsx scripts/command-doc.ts');
    process.exit(1);
  }
} else writeFileSync(file, text);
