import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Put in by the build. */
declare const TELEPORT_ENV_VERSION: string | undefined;

/** The version of this program: as built, or of the checkout where it runs from its sources. */
export function version(): string {
  if (typeof TELEPORT_ENV_VERSION === 'string') return TELEPORT_ENV_VERSION;
  return JSON.parse(readFileSync(join(__dirname, '../../package.json'), 'utf8')).version;
}
