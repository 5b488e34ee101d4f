import { join } from 'node:path';
import { version } from './version.ts';

/** Where a daemon listens, and where one may be started from. */
export interface Whereabouts {
  socket: string;
  /** Only in tests: this very program serves, with that state folder, instead of the installed copy. */
  devState?: string;
  /** The folder that set-up filled, owned by root. */
  installed: string;
}

export const DEFAULT_SOCKET = '/run/teleport-env/daemon.sock';
export const UNIT = 'teleport-env.service';

/** Reads the environment once. */
export function whereabouts(env: NodeJS.ProcessEnv): Whereabouts {
  const socket = env.TELEPORT_ENV_SOCKET || DEFAULT_SOCKET;
  const installed = join('/opt/teleport-env', version());
  if (env.TELEPORT_ENV_SOCKET && env.TELEPORT_ENV_STATE && env.TELEPORT_ENV_DEV === '1')
    return { socket, installed, devState: env.TELEPORT_ENV_STATE };
  return { socket, installed };
}
