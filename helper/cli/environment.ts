import { TeleportError } from '../protocol/errors.ts';
import { brief } from './text.ts';

/** Only these enter a sandbox by themselves: what programs need to find each other and to speak the user's language. No secrets. */
const LISTED = /^(PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_[A-Z]+|TZ|TERM|COLORTERM|EDITOR|VISUAL|PAGER)$/;

export function insideEnv(env: NodeJS.ProcessEnv): Record<string, string> {
  return pick(env, LISTED);
}

/** What an interactive program has to know of this terminal. */
export function terminalEnv(env: NodeJS.ProcessEnv): Record<string, string> {
  return { TERM: 'xterm-256color', ...pick(env, /^(TERM|COLORTERM|NO_COLOR|LANG|LC_[A-Z]+)$/) };
}

/** `NAME=VALUE`, or `NAME` for the caller's own value. */
export function parsePairs(pairs: string[], env: NodeJS.ProcessEnv): Record<string, string> {
  const result: Record<string, string> = {};
  for (const pair of pairs) {
    const at = pair.indexOf('=');
    const name = at < 0 ? pair : pair.slice(0, at);
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name))
      throw new TeleportError('invalidRequest', `${brief(name)} is no variable's name`);
    const value = at < 0 ? env[name] : pair.slice(at + 1);
    if (value !== undefined) result[name] = value;
  }
  return result;
}

function pick(env: NodeJS.ProcessEnv, names: RegExp): Record<string, string> {
  const result: Record<string, string> = {};
  for (const [name, value] of Object.entries(env)) if (value !== undefined && names.test(name)) result[name] = value;
  return result;
}
