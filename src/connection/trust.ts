import type { Asked } from './helper.ts';

/** What is only looked at, or only ended: all that is asked of the helper in a folder that is not trusted. */
const LOOKING: ReadonlySet<Asked> = new Set<Asked>([
  'teleport/handshake',
  'doctor',
  'sandbox/list',
  'sandbox/get',
  'checkpoint/list',
  'diff',
  'file/stat',
  'file/list',
  'file/read',
  'file/watch',
  'file/unwatch',
  'follow/get',
  'gateway/transcripts',
  'port/list',
  'process/list',
  'session/list',
  'session/attach',
  'session/resize',
  'workspace/measure',
  'apply/plan',
  'apply/patch',
  'document/read',
  'document/record',
  'document/stepped',
  // Whoever sees something run may stop it.
  'sandbox/stop',
  'branch/discard',
  'session/close',
  'gateway/stop',
]);

/** Whether asking that starts, changes or loses something, which only a trusted folder's window may. */
export function needsTrust(method: Asked): boolean {
  return !LOOKING.has(method);
}
