/** The settings that send an agent's terminal commands to a sandbox, and back again. Plain functions. */

export type Os = 'linux' | 'osx' | 'windows';

export interface SettingChange {
  setting: string;
  before: unknown;
  after: unknown;
  /** Why it is needed. */
  why: 'terminal' | 'automation' | 'claude' | 'ownSandbox';
}

export interface Current {
  /** The editor knows such a setting. */
  known: boolean;
  /** As it stands for this workspace alone; undefined: not at all. */
  workspace: unknown;
  /** As it holds here. */
  value: unknown;
}

const PREFIX = 'CLAUDE_CODE_SHELL_PREFIX';

/** @param shell an executable that takes the place of a shell, without arguments of its own */
export function planSettings(os: Os, shell: string, current: (setting: string) => Current): SettingChange[] {
  const changes: SettingChange[] = [];
  const change = (why: SettingChange['why'], setting: string, after: (now: Current) => unknown): void => {
    const now = current(setting);
    if (now.known) changes.push({ why, setting, before: now.workspace, after: after(now) });
  };
  change('terminal', `chat.tools.terminal.terminalProfile.${os}`, () => ({ path: shell }));
  change('automation', `terminal.integrated.automationProfile.${os}`, () => ({ path: shell }));
  change('claude', `terminal.integrated.env.${os}`, ({ workspace }) => ({ ...(workspace as object), [PREFIX]: shell }));
  change('claude', 'claudeCode.environmentVariables', ({ workspace }) => [
    ...(Array.isArray(workspace) ? workspace : []).filter((one) => one?.name !== PREFIX),
    { name: PREFIX, value: shell },
  ]);
  const setting = os === 'windows' ? 'chat.agent.sandbox.enabledWindows' : 'chat.agent.sandbox.enabled';
  const own = current(setting);
  // It would keep the commands from reaching the helper. It is a word in newer versions.
  if (isOn(own.value))
    changes.push({
      why: 'ownSandbox',
      setting,
      before: own.workspace,
      after: typeof own.value === 'string' ? 'off' : false,
    });
  return changes;
}

function isOn(value: unknown): boolean {
  return value === true || (typeof value === 'string' && value !== 'off');
}

/** What takes it back: only where it still stands as it was written. */
export function planUndo(
  written: readonly SettingChange[],
  current: (setting: string) => Current,
): { back: SettingChange[]; left: string[] } {
  const back: SettingChange[] = [];
  const left: string[] = [];
  for (const change of written) {
    const now = current(change.setting).workspace;
    if (same(now, change.after)) back.push({ ...change, before: now, after: change.before });
    else if (!same(now, change.before)) left.push(change.setting);
  }
  return { back, left };
}

function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** A script of sh that takes a shell's place: `command` with `args` and whatever it is given itself. */
export function shellScript(command: string, args: readonly string[], env: Readonly<Record<string, string>>): string {
  const quote = (word: string): string => `'${word.replaceAll("'", `'\\''`)}'`;
  const exports = Object.entries(env).map(([name, value]) => `export ${name}=${quote(value)}\n`);
  return `#!/bin/sh\n# Written by Teleport Env: what is run by it runs in a sandbox.\n${exports.join('')}exec ${[command, ...args].map(quote).join(' ')} "$@"\n`;
}
