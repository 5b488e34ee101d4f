// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are bash's own.
/**
 * What makes a shell inside a sandbox mark its commands for VS Code (OSC 633), with nothing to install there: bash takes
 * PROMPT_COMMAND and PS0 from its environment. Being variables of the shell they are part of its memory, so a restored
 * shell goes on marking with the nonce it had. Other shells ignore them.
 */
export function shellIntegrationVariables(nonce: string): Record<string, string> {
  return {
    TERM_PROGRAM: 'vscode',
    __teleport_nonce: nonce,
    PROMPT_COMMAND: PROMPT,
    PS0: BEFORE,
  };
}

/** Before each prompt: the last command ended (but not before the first), and the prompt begins (A) and ends (B). */
const PROMPT = [
  '__teleport_status=$?',
  // Nested shells are the command's own business.
  'export -n PROMPT_COMMAND PS0 __teleport_nonce',
  'if [ -n "${__teleport_ran-}" ]; then printf "\\033]633;D;%s\\007" "$__teleport_status"; else printf "\\033]633;D\\007"; fi',
  '__teleport_ran=',
  'printf "\\033]633;P;Cwd=%s\\007" "$PWD"',
  'case $PS1 in *633\\;B*) ;; *) PS1="\\[\\e]633;A\\a\\]$PS1\\[\\e]633;B\\a\\]" ;; esac',
].join('; ');

/**
 * After a command line was read: which one (E), and that it runs now (C). Then once more which one: where both marks come
 * apart, VS Code reads the screen in between, and with it whatever a program in the background wrote behind the prompt. Bash reads
 * backslashes in it twice: as a prompt and as shell.
 */
const BEFORE = [
  // It has to outlive the expansion, so it is an arithmetic assignment; its text is cut to nothing.
  '${PS0:0:$((__teleport_ran=1,0))}',
  '$(__teleport_line=$(HISTTIMEFORMAT= history 1 | sed "1s/^ *[0-9]*[* ] //"); ',
  String.raw`__teleport_line=${'$'}{__teleport_line//\\\\/\\\\\\\\}; `,
  String.raw`__teleport_line=${'$'}{__teleport_line//;/\\\\x3b}; `,
  String.raw`__teleport_line=${'$'}{__teleport_line//$'\\n'/\\\\x0a}; `,
  '__teleport_line=$(printf "\\033]633;E;%s;%s\\007" "$__teleport_line" "$__teleport_nonce"); ',
  'printf "%s\\033]633;C\\007%s" "$__teleport_line" "$__teleport_line")',
].join('');
