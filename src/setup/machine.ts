import { existsSync, readFileSync } from 'node:fs';
import { t } from '../l10n.ts';

/** What of the machine decides whether sandboxes can work here. */
export interface Machine {
  readonly platform: NodeJS.Platform;
  /** How VS Code itself was installed: such a one sees another root than the machine's. */
  readonly packaging: 'none' | 'flatpak' | 'snap';
  readonly container: 'none' | 'docker' | 'podman' | 'other';
}

export interface Probes {
  readonly platform: NodeJS.Platform;
  readonly env: NodeJS.ProcessEnv;
  exists(path: string): boolean;
  read(path: string): string;
}

export const realProbes: Probes = {
  platform: process.platform,
  env: process.env,
  exists: existsSync,
  read: (path) => {
    try {
      return readFileSync(path, 'utf8');
    } catch {
      return '';
    }
  },
};

export function machineOf({ platform, env, exists, read }: Probes): Machine {
  const packaging =
    exists('/.flatpak-info') || env.FLATPAK_ID ? 'flatpak' : env.SNAP && env.SNAP_NAME ? 'snap' : 'none';
  const cgroup = read('/proc/1/cgroup');
  const container =
    exists('/run/.containerenv') || env.container === 'podman'
      ? 'podman'
      : exists('/.dockerenv') || cgroup.includes('/docker')
        ? 'docker'
        : /\/(lxc|kubepods)/.test(cgroup)
          ? 'other'
          : 'none';
  return { platform, packaging, container: packaging === 'flatpak' ? 'none' : container };
}

/** What is special here and the way on, in a sentence or two; null where nothing is. */
export function machineWords({ packaging, container }: Machine): string | null {
  if (packaging === 'flatpak')
    return t(
      'VS Code runs as a Flatpak, which hides the machine from it. Set-up works through the host; if sandboxes don’t start, install VS Code from its .deb or .rpm.',
    );
  if (packaging === 'snap')
    return t('VS Code runs as a snap. That works as long as it is a classic one; if not, install it from its .deb.');
  if (container !== 'none')
    return t(
      'VS Code works inside a container. Sandboxes need a privileged one with CRIU’s capabilities; otherwise open the folder on the machine itself.',
    );
  return null;
}
