import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { t } from '../l10n.ts';
import { type Executable, type Place, shellWords } from './place.ts';

export interface NativeOptions {
  readonly extensionPath: string;
  /** Another helper's script, from the settings. */
  readonly helperPath: string;
  /** `process.execPath`: VS Code's own runtime, which is a Node when it is told so. */
  readonly execPath: string;
  readonly platform: NodeJS.Platform;
  readonly survivesReload: boolean;
  readonly packaging: 'none' | 'flatpak' | 'snap';
}

/** The helper on this very machine (which is the far one in a Remote-SSH window). */
export function nativePlace(options: () => NativeOptions): Place {
  const node = (...args: string[]): Executable => {
    const { execPath, helperPath, extensionPath } = options();
    const script = helperPath || join(extensionPath, 'dist', 'teleport-env.js');
    return { command: execPath, args: [script, ...args], env: { ELECTRON_RUN_AS_NODE: '1' } };
  };
  return {
    name: 'native',
    unsupported: () =>
      options().platform === 'linux' ? null : t('Sandboxes need Linux: they hold live processes of a Linux kernel.'),
    connect: () => node('connect'),
    shell: (session) => (options().survivesReload ? node(...shellWords(session)) : null),
    setUp: () => {
      const { extensionPath, packaging } = options();
      const script = join(extensionPath, 'scripts', 'setup-linux.sh');
      if (!existsSync(script)) return null;
      // A Flatpak's editor sees another root than the machine's.
      const before = packaging === 'flatpak' ? ['flatpak-spawn', '--host'] : [];
      const [command, ...args] = [...before, 'bash', script];
      return { command: command!, args, env: {} };
    },
    toHelperPath: (path) => path,
    fromHelperPath: (path) => path,
  };
}
