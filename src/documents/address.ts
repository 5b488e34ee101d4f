/**
 * How a file as of a moment is named: `teleport-env://k4.s3/home/me/project/a.txt`; `head.s3` is the head, wherever it goes.
 * Plain, so that it can be tested.
 */
export interface Address {
  readonly sandbox: string;
  /** A checkpoint, a branch, or `head`. */
  readonly at: string;
  /** Inside the sandbox. */
  readonly path: string;
}

/** One side of a comparison where there is no file. */
export const NOTHING = 'nothing';

export function authorityOf({ sandbox, at }: Pick<Address, 'sandbox' | 'at'>): string {
  return `${at}.${sandbox}`;
}

export function addressOf(uri: {
  readonly authority: string;
  readonly path: string;
}): Address | typeof NOTHING | undefined {
  if (uri.authority === NOTHING) return NOTHING;
  const match = /^([kb]\d{1,9}|head)\.(s\d{1,9})$/.exec(uri.authority);
  if (!match) return undefined;
  return { at: match[1]!, sandbox: match[2]!, path: uri.path || '/' };
}

/** A past moment never changes; what lives does. */
export function isLive({ at }: Pick<Address, 'at'>): boolean {
  return !at.startsWith('k');
}
