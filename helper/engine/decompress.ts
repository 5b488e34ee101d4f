/** A stream of bytes without its compression, told by the first bytes: gzip, zstd or none. */
import { type ChildProcess, spawn } from 'node:child_process';
import { pipeline, Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { TarError } from './tar.ts';

export async function* decompressed(stream: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const source = stream[Symbol.asyncIterator]();
  const first = await source.next();
  if (first.done) return;
  const whole = (async function* () {
    yield first.value;
    for (let next = await source.next(); !next.done; next = await source.next()) yield next.value;
  })();
  const magic = first.value.toString('hex', 0, 4);
  if (magic.startsWith('1f8b')) yield* gunzip(whole);
  else if (magic === '28b52ffd') yield* unzstd(whole);
  else yield* whole;
}

async function* gunzip(stream: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const out = createGunzip();
  pipeline(Readable.from(stream, { objectMode: false }), out, () => {}); // a failure shows in `out`
  try {
    for await (const chunk of out) yield chunk as Buffer;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code?.startsWith('Z_')) throw new TarError('its compressed data is damaged');
    throw error;
  }
}

/** By the program, as nobody: Node has none before 22.15. */
async function* unzstd(stream: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const drop = ['--reuid', '65534', '--regid', '65534', '--clear-groups', '--no-new-privs', '--'];
  const child: ChildProcess = spawn('setpriv', [...drop, 'zstd', '-dcq', '--memory=1024MB'], {
    stdio: ['pipe', 'pipe', 'ignore'],
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
    cwd: '/',
  });
  const ended = new Promise<number>((resolve) => {
    child.once('error', () => resolve(127));
    child.once('exit', (code) => resolve(code ?? 1));
  });
  try {
    pipeline(Readable.from(stream, { objectMode: false }), child.stdin!, () => {});
    for await (const chunk of child.stdout!) yield chunk as Buffer;
    const code = await ended;
    if (code === 127) throw new TarError('it is compressed by zstd, which is not installed (or save it as gzip)');
    if (code !== 0) throw new TarError('its compressed data is damaged');
  } finally {
    child.kill('SIGKILL');
  }
}
