/**
 * What an agent's tool call would be as a shell command, so that a run can be walked again. Tools differ in name from agent to
 * agent and hardly in what they take: those that run a command, that write a file, that replace a text in a file. The others
 * (reading, searching, the web, plans) change nothing and are no steps.
 */
import { shellWord } from '../../../protocol/shell-word.ts';
import { heredoc } from './heredoc.ts';

type Input = Record<string, unknown>;

const RUN = new Set(
  `bash shell local_shell container.exec run_shell_command execute_bash execute_command run_command exec_command exec terminal
  run_in_terminal run_terminal_cmd shell_command`.split(/\s+/),
);
const WRITE = new Set('write write_file create_file create write_to_file'.split(' '));
const REPLACE = new Set(
  'edit multiedit replace str_replace replace_string_in_file edit_file replace_in_file'.split(' '),
);
/** Anthropic's and SWE-agent's editor: what it does is its `command`. */
const EDITOR = new Set(['str_replace_editor', 'str_replace_based_edit_tool']);

/** @returns the command, or null where the call is not one that a shell could do again */
export function commandOf(tool: string, input: unknown): string | null {
  const given: Input = typeof input === 'object' && input !== null ? (input as Input) : {};
  const name = tool.toLowerCase().replace(/^functions?\./, '');
  if (RUN.has(name)) return runCommand(given, input);
  if (WRITE.has(name)) return writeFile(given);
  if (REPLACE.has(name)) return replace(given);
  if (EDITOR.has(name)) return editor(given);
  return null;
}

function text(input: Input, ...names: string[]): string | null {
  for (const name of names) if (typeof input[name] === 'string') return input[name] as string;
  return null;
}

function runCommand(input: Input, raw: unknown): string | null {
  const words = ['command', 'cmd', 'script', 'argv', 'input', 'code']
    .map((name) => input[name])
    .find((w) => w !== undefined);
  const command = typeof raw === 'string' ? raw : words;
  const line = Array.isArray(command) ? fromWords(command) : command;
  if (typeof line !== 'string' || line.trim() === '') return null;
  const folder = text(input, 'workdir', 'working_directory');
  return folder ? `(cd ${shellWord(folder)} && ${line.includes('\n') ? `{\n${line}\n}` : `{ ${line}\n}`})` : line;
}

/** `["bash", "-lc", "npm test"]` is the line that it hands to the shell. */
function fromWords(words: unknown[]): string | null {
  if (!words.every((word): word is string => typeof word === 'string')) return null;
  const [shell, option, line] = words;
  if (words.length === 3 && /^(?:\/\S*\/)?(?:ba|z|da)?sh$/.test(shell!) && /^-\w*c$/.test(option!)) return line!;
  return words.map(shellWord).join(' ');
}

function writeFile(input: Input): string | null {
  const path = text(input, 'file_path', 'path', 'filePath', 'filename', 'absolute_path');
  const content = text(input, 'content', 'contents', 'file_text', 'text');
  if (path === null || content === null) return null;
  const slash = path.lastIndexOf('/');
  const folder = slash > 0 ? `mkdir -p ${shellWord(path.slice(0, slash))} && ` : '';
  if (content !== '' && !content.endsWith('\n')) return `${folder}printf %s ${shellWord(content)} > ${shellWord(path)}`;
  return heredoc(`${folder}cat > ${shellWord(path)}`, content);
}

function replace(input: Input): string | null {
  const path = text(input, 'file_path', 'path', 'filePath', 'absolute_path');
  if (path === null) return null;
  const edits = Array.isArray(input.edits) ? (input.edits as Input[]) : [input];
  const commands = edits.map((edit) => {
    const old = text(edit, 'old_string', 'old_str', 'oldString', 'search');
    const fresh = text(edit, 'new_string', 'new_str', 'newString', 'replace') ?? '';
    if (old === null) return null;
    if (old === '') return writeFile({ path, content: fresh });
    const all = edit.replace_all === true || edit.replaceAll === true;
    return substitute(path, old, fresh, all);
  });
  return commands.length === 0 || commands.includes(null) ? null : commands.join(' &&\n');
}

/** Perl is part of every Debian and Ubuntu; the texts go by variables, so that nothing in them is a pattern. Fails where the text is not there. */
function substitute(path: string, old: string, fresh: string, all: boolean): string {
  const script = `$n += s/\\Q$ENV{OLD}\\E/$ENV{NEW}/${all ? 'g' : ''}; END { $? ||= !$n }`;
  return `OLD=${shellWord(old)} NEW=${shellWord(fresh)} perl -0777 -i -pe '${script}' -- ${shellWord(path)}`;
}

function editor(input: Input): string | null {
  switch (input.command) {
    case 'create':
      return writeFile(input);
    case 'str_replace':
      return replace(input);
    case 'insert': {
      const path = text(input, 'path');
      const fresh = text(input, 'new_str', 'insert_text');
      const line = Number(input.insert_line);
      if (path === null || fresh === null || !Number.isInteger(line) || line < 0) return null;
      const body = fresh.endsWith('\n') ? fresh : `${fresh}\n`;
      if (line === 0) {
        // sed inserts nothing after line 0.
        const [to, aside] = [shellWord(path), shellWord(`${path}.new`)];
        return `${heredoc(`cat - ${to} > ${aside}`, body)}\nmv ${aside} ${to}`;
      }
      return heredoc(`sed -i ${shellWord(`${line}r /dev/stdin`)} ${shellWord(path)}`, body);
    }
    default:
      return null; // view, undo_edit
  }
}
