/**
 * What each shell is given. They all ask the program itself at every TAB, so that they know no command of their own:
 * `teleport-env complete` prints a line a candidate, its value and what it is, parted by a tab, or `:files`.
 */
export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type ShellName = (typeof SHELLS)[number];

const BASH = `# bash completion for teleport-env
# Now: source <(teleport-env completion bash)
# Always: teleport-env completion bash > ~/.local/share/bash-completion/completions/teleport-env
_teleport_env() {
  local line value
  COMPREPLY=()
  while IFS= read -r line; do
    if [ "$line" = ':files' ]; then compopt -o default; continue; fi
    printf -v value %q "\${line%%$'\\t'*}"
    COMPREPLY+=("$value")
  done < <(teleport-env complete --shell bash -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _teleport_env teleport-env
`;

const ZSH = `#compdef teleport-env
# Now: source <(teleport-env completion zsh)
# Always: teleport-env completion zsh > a folder of your fpath, as _teleport-env
_teleport_env() {
  local line files
  local -a candidates
  while IFS= read -r line; do
    if [[ $line == ':files' ]]; then files=yes; continue; fi
    candidates+=("\${\${line%%$'\\t'*}//:/\\\\:}:\${line#*$'\\t'}")
  done < <(teleport-env complete --shell zsh -- "\${(@Q)words[2,CURRENT]}" 2>/dev/null)
  (( $#candidates )) && _describe -V teleport-env candidates
  [[ -z $files ]] || _files
}
if [[ \${funcstack[1]} == _teleport?env ]]; then _teleport_env "$@"; else compdef _teleport_env teleport-env; fi
`;

const FISH = `# fish completion for teleport-env
# Now: teleport-env completion fish | source
# Always: teleport-env completion fish > ~/.config/fish/completions/teleport-env.fish
function __teleport_env
    set -l before (commandline -opc)
    set -l current (commandline -ct)
    test -n "$current"; or set current ''
    for line in (teleport-env complete --shell fish -- $before[2..-1] $current 2>/dev/null)
        if test "$line" = ':files'
            __fish_complete_path "$current"
        else
            echo $line
        end
    end
end
complete -c teleport-env -f -k -a '(__teleport_env)'
`;

export const SCRIPTS: Record<ShellName, string> = { bash: BASH, zsh: ZSH, fish: FISH };
