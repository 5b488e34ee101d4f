import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** VS Code's own themes: their id in the settings, and the file whose name the window's class then holds. */
export const themes = {
  light: { id: 'Light 2026', file: '2026-light' },
  dark: { id: 'Dark 2026', file: '2026-dark' },
  'high-contrast': { id: 'Default High Contrast', file: 'hc_black' },
  'high-contrast-light': { id: 'Default High Contrast Light', file: 'hc_light' },
} as const;

export type ThemeName = keyof typeof themes;

/** What makes tests steady: nothing pops up, nothing is fetched, text is text. */
const steady = {
  'terminal.integrated.gpuAcceleration': 'off',
  'terminal.integrated.suggest.enabled': false, // it would take Enter and Tab
  'terminal.integrated.enablePersistentSessions': false,
  'remote.autoForwardPorts': false,
  'workbench.startupEditor': 'none',
  'workbench.colorTheme': themes.dark.id,
  'workbench.secondarySideBar.defaultVisibility': 'hidden',
  'workbench.tips.enabled': false,
  'workbench.reduceMotion': 'on',
  'window.autoDetectColorScheme': false,
  'window.autoDetectHighContrast': false,
  'chat.disableAIFeatures': true,
  'telemetry.telemetryLevel': 'off',
  'extensions.autoUpdate': false,
  'extensions.autoCheckUpdates': false,
  'extensions.ignoreRecommendations': true,
  // Where a test wants Workspace Trust, it says itself when a folder is trusted.
  'security.workspace.trust.startupPrompt': 'never',
  'security.workspace.trust.banner': 'never',
};

/** The settings of one editor. */
export class Settings {
  private readonly changed: string;

  constructor(userData: string, own: Record<string, unknown> = {}) {
    write(join(userData, 'User', 'settings.json'), { ...steady, ...own });
    this.changed = join(userData, 'Machine', 'settings.json');
  }

  /**
   * While the editor runs. Into the settings of the remote machine: code-server's window does not notice changes of the
   * user's (it starts watching before it can). Settings of application scope can't be changed this way.
   */
  change(changes: Record<string, unknown>): void {
    write(this.changed, changes);
  }
}

function write(file: string, changes: Record<string, unknown>): void {
  mkdirSync(dirname(file), { recursive: true });
  const before = existsSync(file) ? readFileSync(file, 'utf8') : '';
  const text = JSON.stringify({ ...JSON.parse(before || '{}'), ...changes }, undefined, 2);
  // Over the old text, never shorter: VS Code reads at the first sign of a change and could meet an emptied file.
  writeFileSync(file, text.padEnd(before.length), { flag: before ? 'r+' : 'w' });
}
