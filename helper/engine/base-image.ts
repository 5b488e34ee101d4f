/**
 * Unpacks an image tar (an OCI layout, or what `docker save` writes) once per content into the state volume, for sandboxes to
 * stand on: BASES/DIGEST/root. The archive is its user's own and not trusted (see unpack.ts); it is copied first, so that
 * what is summed up is what is read.
 */
import { createHash, type Hash } from 'node:crypto';
import { createReadStream, mkdirSync, renameSync, rmSync, statfsSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { TeleportError } from '../protocol/errors.ts';
import { decompressed } from './decompress.ts';
import { syncfsAsync } from './syscalls.ts';
import { readTar, type TarEntry, TarError } from './tar.ts';
import { removeTree } from './trees.ts';
import { Unpacker } from './unpack.ts';

const LARGEST_DOCUMENT = 4 << 20;
const MOST_ENTRIES = 2_000_000;
const MOST_LAYERS = 1000;
/** Left free on the volume, for the sandboxes that are there. */
const RESERVE = 64 << 20;

const Descriptor = z.object({
  digest: z.string().regex(/^sha256:[0-9a-f]{64}$/),
  mediaType: z.string().optional(),
  platform: z.object({ os: z.string(), architecture: z.string() }).optional(),
});
type Descriptor = z.infer<typeof Descriptor>;
const Index = z.object({ manifests: z.array(Descriptor).min(1).max(1000) });
const OciManifest = z.object({ layers: z.array(Descriptor).max(MOST_LAYERS) });
const DockerManifest = z.array(z.object({ Layers: z.array(z.string().max(4096)).max(MOST_LAYERS) })).min(1);

interface Layer {
  entry: TarEntry;
  digest?: string;
}

export interface UnpackOptions {
  /** What to call it in messages. */
  name: string;
  progress(message: string): void;
  signal?: AbortSignal;
}

/**
 * @param source an open regular file
 * @param bases folder on the state volume
 * @returns the digest: the image stands at `bases/DIGEST/root`
 * @throws TeleportError `baseUnreadable`, `volumeFull`; then nothing of it is left
 */
export async function unpackImage(source: number, bases: string, options: UnpackOptions): Promise<string> {
  const part = join(bases, `part-${process.pid}-${performance.now().toString(36)}`);
  mkdirSync(join(part, 'root'), { recursive: true, mode: 0o755 });
  const bundle = join(part, 'bundle');
  try {
    options.progress('reading the image');
    const digest = await copyAndSum(source, bundle, bases, options.signal);
    const place = join(bases, digest);
    if (statfsSafe(place)) return digest;
    await unpackBundle(bundle, join(part, 'root'), freeBytes(bases), options);
    rmSync(bundle);
    await syncfsAsync(part);
    renameSync(part, place);
    return digest;
  } catch (cause) {
    throw explain(cause, options.name);
  } finally {
    await removeTree(part);
  }
}

function statfsSafe(path: string): boolean {
  try {
    statfsSync(path);
    return true;
  } catch {
    return false;
  }
}

function freeBytes(dir: string): number {
  const { bavail, bsize } = statfsSync(dir);
  return bavail * bsize - RESERVE;
}

async function copyAndSum(source: number, target: string, bases: string, signal?: AbortSignal): Promise<string> {
  const sum = createHash('sha256');
  const out = await open(target, 'wx', 0o600);
  try {
    let left = freeBytes(bases);
    const whole = createReadStream('', { fd: source, start: 0, autoClose: false, highWaterMark: 1 << 20 });
    for await (const chunk of decompressed(summed(whole, sum))) {
      signal?.throwIfAborted();
      left -= chunk.length;
      if (left < 0) throw Object.assign(new Error('No space left'), { code: 'ENOSPC' });
      await out.writeFile(chunk);
    }
  } finally {
    await out.close();
  }
  return sum.digest('hex');
}

async function unpackBundle(bundle: string, root: string, bytes: number, options: UnpackOptions): Promise<void> {
  const file = await open(bundle, 'r');
  try {
    const entries = await contents(file.fd);
    const layers = await layersOf(file.fd, entries);
    const unpacker = new Unpacker(root, { bytes, entries: MOST_ENTRIES });
    try {
      for (const [i, { entry, digest }] of layers.entries()) {
        options.progress(`unpacking layer ${i + 1} of ${layers.length}`);
        const sum = digest ? createHash('sha256') : null;
        await unpacker.layer(decompressed(summed(slice(file.fd, entry), sum)), options.signal);
        if (sum && `sha256:${sum.digest('hex')}` !== digest)
          throw new TarError(`layer ${i + 1} is not what the image says it is`);
      }
    } finally {
      unpacker.close();
    }
  } finally {
    await file.close();
  }
}

async function* summed(stream: AsyncIterable<Buffer>, sum: Hash | null): AsyncGenerator<Buffer> {
  for await (const chunk of stream) {
    sum?.update(chunk);
    yield chunk;
  }
}

function slice(fd: number, entry: TarEntry): AsyncIterable<Buffer> {
  if (entry.size === 0) return summedNothing();
  const { offset: start, size } = entry;
  return createReadStream('', { fd, start, end: start + size - 1, autoClose: false, highWaterMark: 1 << 18 });
}

async function* summedNothing(): AsyncGenerator<Buffer> {}

/** What the bundle holds, by name; links (older `docker save`s share layers so) answer for what they point at. */
async function contents(fd: number): Promise<Map<string, TarEntry>> {
  const found = new Map<string, TarEntry>();
  const stream = createReadStream('', { fd, start: 0, autoClose: false, highWaterMark: 1 << 20 });
  for await (const entry of readTar(stream)) {
    if (found.size > 100_000) throw new TarError('it holds too many files for an image');
    found.set(plain(entry.name), { ...entry, data: entry.data });
  }
  for (const [name, entry] of found) {
    if (entry.type !== 'symlink' && entry.type !== 'link') continue;
    const folder = entry.type === 'link' ? '' : name.slice(0, name.lastIndexOf('/') + 1);
    const target = found.get(plain(folder + entry.target));
    if (target?.type === 'file') found.set(name, target);
  }
  return found;
}

/** Without `.` and `..` parts; names outside come out as something that is not there. */
function plain(name: string): string {
  const parts: string[] = [];
  for (const part of name.split('/'))
    if (part === '..') parts.pop();
    else if (part !== '' && part !== '.') parts.push(part);
  return parts.join('/');
}

async function layersOf(fd: number, entries: Map<string, TarEntry>): Promise<Layer[]> {
  if (entries.has('index.json')) {
    const manifest = await ociManifest(fd, entries);
    return manifest.layers.map(({ digest }) => ({ entry: blob(entries, digest), digest }));
  }
  if (!entries.has('manifest.json'))
    throw new TarError('it is no image: neither index.json nor manifest.json is in it (make it with docker save)');
  const images = await document(fd, entries, 'manifest.json', DockerManifest);
  if (images.length > 1) throw new TarError('it holds several images: save one by itself');
  return images[0]!.Layers.map((name) => {
    const entry = entries.get(plain(name));
    if (entry?.type !== 'file') throw new TarError(`its layer ${name} is missing`);
    return { entry };
  });
}

async function ociManifest(fd: number, entries: Map<string, TarEntry>): Promise<z.infer<typeof OciManifest>> {
  let name = 'index.json';
  for (let depth = 0; depth < 4; depth++) {
    const chosen = choose((await document(fd, entries, name, Index)).manifests);
    name = `blobs/sha256/${chosen.digest.slice(7)}`;
    blob(entries, chosen.digest);
    if (!/index|manifest\.list/.test(chosen.mediaType ?? '')) return await document(fd, entries, name, OciManifest);
  }
  throw new TarError('its index leads nowhere');
}

function choose(manifests: Descriptor[]): Descriptor {
  const architecture = process.arch === 'x64' ? 'amd64' : process.arch;
  const fitting = manifests.filter(
    ({ platform }) => !platform || (platform.os === 'linux' && platform.architecture === architecture),
  );
  if (fitting.length === 0) throw new TarError(`it holds no image for linux/${architecture}`);
  if (new Set(fitting.map(({ digest }) => digest)).size > 1)
    throw new TarError('it holds several images: save one by itself');
  return fitting[0]!;
}

function blob(entries: Map<string, TarEntry>, digest: string): TarEntry {
  const entry = entries.get(`blobs/sha256/${digest.slice(7)}`);
  if (entry?.type !== 'file') throw new TarError(`its part ${digest} is missing`);
  return entry;
}

async function document<S extends z.ZodType>(
  fd: number,
  entries: Map<string, TarEntry>,
  name: string,
  schema: S,
): Promise<z.infer<S>> {
  const entry = entries.get(name);
  if (!entry || entry.size > LARGEST_DOCUMENT) throw new TarError(`its ${name} is missing or too large`);
  const parts: Buffer[] = [];
  for await (const chunk of slice(fd, entry)) parts.push(chunk);
  let raw: unknown;
  try {
    raw = JSON.parse(Buffer.concat(parts).toString());
  } catch {
    throw new TarError(`its ${name} is not JSON`);
  }
  const parsed = schema.safeParse(raw);
  if (!parsed.success) throw new TarError(`its ${name} is not what the format says`);
  return parsed.data;
}

function explain(cause: unknown, name: string): unknown {
  if (cause instanceof TeleportError || (cause as Error).name === 'AbortError') return cause;
  if ((cause as NodeJS.ErrnoException).code === 'ENOSPC')
    return new TeleportError('volumeFull', `the image ${name} does not fit into the state volume`, {
      hint: 'free space with teleport-env gc --keep 10',
      cause,
    });
  return new TeleportError('baseUnreadable', `${name} can't be a base: ${(cause as Error).message}`, {
    hint: 'give a folder with a root file system, or an image tar as docker save writes it',
    cause,
  });
}
