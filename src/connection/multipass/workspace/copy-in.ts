/** A folder of this host into the machine, as one tar stream: there whole, or as it was before. */
import { Readable } from 'node:stream';
import { t } from '../../../l10n.ts';
import { MultipassError } from '../errors.ts';
import type { Way } from '../provision.ts';
import { type TarSource, tarOf } from './tar.ts';
import { walk } from './walk.ts';

export interface CopyIn {
  /** On this host. */
  readonly folder: string;
  /** In the machine. */
  readonly to: string;
  readonly exclude: ReadonlySet<string>;
  readonly platform?: NodeJS.Platform;
  /** Bytes of content so far. */
  readonly onProgress?: (bytes: number) => void;
}

export interface Copied {
  readonly files: number;
  readonly bytes: number;
  readonly ms: number;
  /** Because of their names. */
  readonly leftOut: readonly string[];
  /** Sockets and their kind, and what could not be read. */
  readonly skipped: readonly { readonly path: string; readonly reason: string }[];
}

const COPY_MS = 4 * 3600_000;

/** @throws MultipassError `failed` where it did not arrive; then what was there before is there still */
export async function copyIn(way: Way, { folder, to, exclude, platform, onProgress }: CopyIn): Promise<Copied> {
  const started = performance.now();
  const leftOut: string[] = [];
  const skipped: { path: string; reason: string }[] = [];
  let files = 0;
  let bytes = 0;
  const entries = walk(folder, {
    exclude,
    platform,
    signal: way.signal,
    onExcluded: (path) => leftOut.push(path),
    onSkipped: (path, reason) => skipped.push({ path, reason }),
  });
  const counted = async function* (): AsyncGenerator<TarSource> {
    const now = { mode: 0o755, mtimeMs: Date.now(), size: 0 };
    yield { ...now, path: 'files', type: 'folder' };
    for await (const entry of entries) {
      if (entry.type === 'file') files++;
      yield { ...entry, path: `files/${entry.path}` };
    }
    yield { ...now, path: 'complete', type: 'folder' };
  };
  const stream = tarOf(counted(), {
    signal: way.signal,
    onBytes: (count) => {
      bytes += count;
      onProgress?.(bytes);
    },
    onLost: (path, error) => skipped.push({ path: path.slice('files/'.length), reason: error.message }),
  });
  const ended = await way.run(way.transport.program(['bash', '-c', RECEIVE, 'bash', to]), {
    stdin: Readable.from(stream),
    timeoutMs: COPY_MS,
    signal: way.signal,
  });
  way.signal?.throwIfAborted();
  if (ended.exitCode !== 0)
    throw new MultipassError(
      'failed',
      t('{0} could not be copied into the machine: {1}', folder, ended.stderr.trim().split('\n').at(-1) ?? ''),
      t('What the machine had of it before is unchanged. Try again.'),
    );
  return { files, bytes, ms: performance.now() - started, leftOut, skipped };
}

/**
 * Unpacked beside its place, then put there by a rename: a stream that breaks off leaves no half. tar takes an end between
 * two entries for the archive's, hence the one that must come last.
 */
const RECEIVE = `set -e
to=$1
mkdir -p "$(dirname "$to")"
new=$(mktemp -d "$to.incoming-XXXXXX")
trap 'chmod -R u+rwX "$new" 2>/dev/null; rm -rf "$new"' EXIT
tar -x -C "$new" --no-same-owner -p --delay-directory-restore
if [ ! -d "$new/complete" ]; then echo 'the stream broke off' >&2; exit 1; fi
if [ -e "$to" ]; then mv -T "$to" "$new/before"; fi
mv -T "$new/files" "$to"
`;
