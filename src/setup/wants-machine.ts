import { workspace } from 'vscode';
import { SETTINGS } from '../ids.ts';

/** Whether this window works in a machine of its own: always where there is no Linux, elsewhere when asked for. */
export function wantsMachine(): boolean {
  const where = workspace.getConfiguration().get<string>(SETTINGS.place, 'auto');
  return where === 'machine' || (where === 'auto' && process.platform !== 'linux');
}
