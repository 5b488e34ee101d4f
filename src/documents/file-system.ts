import { Buffer } from 'node:buffer';
import {
  Disposable,
  EventEmitter,
  type FileChangeEvent,
  FileChangeType,
  FilePermission,
  type FileStat,
  FileSystemError,
  type FileSystemProvider,
  FileType,
  Uri,
  workspace,
} from 'vscode';
import type { FileStat as Found } from '../../helper/protocol/model.ts';
import type { App, Feature } from '../app.ts';
import { HelperError } from '../connection/errors.ts';
import { SCHEME } from '../ids.ts';
import { t } from '../l10n.ts';
import { tell } from '../report.ts';
import { bytes } from '../views/words.ts';
import { type Address, addressOf, authorityOf, isLive, NOTHING } from './address.ts';
import { LARGEST } from './comparison.ts';
import { FolderWatches } from './folder-watches.ts';

const CHUNK = 4_194_304;
/** Bytes that one request writes at most. */
const PART = 8_388_608;
const SETTLE_MS = 300;
const TYPES: Record<Found['type'], FileType> = {
  file: FileType.File,
  folder: FileType.Directory,
  symlink: FileType.SymbolicLink | FileType.File,
  other: FileType.Unknown,
};

export function fileUri(address: Address): Uri {
  return Uri.from({ scheme: SCHEME, authority: authorityOf(address), path: address.path });
}

export function nothingUri(path: string): Uri {
  return Uri.from({ scheme: SCHEME, authority: NOTHING, path });
}

class MomentFiles implements FileSystemProvider, Disposable {
  private readonly changed = new EventEmitter<FileChangeEvent[]>();
  readonly onDidChangeFile = this.changed.event;
  private readonly disposable: Disposable;
  private readonly watches: FolderWatches;
  /** Checkpoints that were deleted while a file of theirs is open, and nobody was told yet. */
  private readonly gone = new Set<string>();
  private telling: NodeJS.Timeout | undefined;

  constructor(private readonly app: App) {
    const { helper } = app;
    this.watches = new FolderWatches(helper, (events) => this.changed.fire(events));
    this.disposable = Disposable.from(
      this.changed,
      this.watches,
      // Open documents of a checkpoint that goes say so; those of a live branch follow it.
      helper.onNotification('checkpoint/removed', ({ sandbox, checkpoint }) => {
        if (this.fire(sandbox, checkpoint, FileChangeType.Deleted)) this.goneFromUnder(checkpoint);
      }),
      helper.onNotification('sandbox/removed', ({ sandbox }) => this.fire(sandbox, undefined, FileChangeType.Deleted)),
      helper.onNotification('checkpoint/added', ({ sandbox }) =>
        this.fire(sandbox, 'branches', FileChangeType.Changed),
      ),
      helper.onNotification('head/moved', ({ sandbox }) => this.fire(sandbox, 'branches', FileChangeType.Changed)),
    );
  }

  async stat(uri: Uri): Promise<FileStat> {
    const address = this.address(uri);
    if (address === NOTHING)
      return { type: FileType.File, ctime: 0, mtime: 0, size: 0, permissions: FilePermission.Readonly };
    const found = await this.asking(uri, () => this.app.helper.ask('file/stat', asked(address)));
    return {
      type: TYPES[found.type],
      ctime: found.mtimeMs,
      mtime: found.mtimeMs,
      size: found.size,
      ...(isLive(address) ? {} : { permissions: FilePermission.Readonly }),
    };
  }

  async readDirectory(uri: Uri): Promise<[string, FileType][]> {
    const address = this.address(uri);
    if (address === NOTHING) return [];
    const { entries } = await this.asking(uri, () => this.app.helper.ask('file/list', asked(address)));
    return entries.map(({ name, stat }) => [name, TYPES[stat.type]]);
  }

  async readFile(uri: Uri): Promise<Uint8Array> {
    const address = this.address(uri);
    if (address === NOTHING) return new Uint8Array();
    const parts: Buffer[] = [];
    let offset = 0;
    for (;;) {
      const params = { ...asked(address), offset, length: CHUNK };
      const { data, size, eof } = await this.asking(uri, () => this.app.helper.ask('file/read', params));
      if (size > LARGEST)
        throw FileSystemError.Unavailable(t('{0} is too large to show ({1}).', address.path, bytes(size)));
      const part = Buffer.from(data, 'base64');
      parts.push(part);
      offset += part.length;
      if (eof || part.length === 0) return parts.length === 1 ? part : Buffer.concat(parts);
    }
  }

  watch(uri: Uri): Disposable {
    const address = addressOf(uri);
    if (!address || address === NOTHING || !isLive(address)) return new Disposable(() => {});
    return this.watches.add(uri, address);
  }

  async createDirectory(uri: Uri): Promise<void> {
    const where = this.living(uri);
    await this.asking(uri, () => this.app.helper.ask('file/mkdir', where));
    this.changed.fire([{ type: FileChangeType.Created, uri }]);
  }

  async writeFile(uri: Uri, content: Uint8Array, options: { create: boolean; overwrite: boolean }): Promise<void> {
    const where = this.living(uri);
    for (let offset = 0; ; offset += PART) {
      const data = Buffer.from(
        content.buffer,
        content.byteOffset + offset,
        Math.min(PART, content.byteLength - offset),
      );
      const truncate = offset + data.length >= content.byteLength;
      const part = { ...where, ...(offset === 0 ? options : {}), offset, truncate, data: data.toString('base64') };
      await this.asking(uri, () => this.app.helper.ask('file/write', part));
      if (truncate) break;
    }
    this.changed.fire([{ type: FileChangeType.Changed, uri }]);
  }

  async delete(uri: Uri, { recursive }: { recursive: boolean }): Promise<void> {
    const where = this.living(uri);
    await this.asking(uri, () => this.app.helper.ask('file/remove', { ...where, recursive }, { timeoutMs: 0 }));
    this.changed.fire([{ type: FileChangeType.Deleted, uri }]);
  }

  async rename(from: Uri, to: Uri, { overwrite }: { overwrite: boolean }): Promise<void> {
    const { path, ...where } = this.living(from);
    const target = this.living(to);
    if (from.authority !== to.authority) throw FileSystemError.Unavailable(t('Two moments are two file systems.'));
    const params = { ...where, from: path, to: target.path, overwrite };
    await this.asking(overwrite ? from : to, () => this.app.helper.ask('file/rename', params));
    this.changed.fire([
      { type: FileChangeType.Deleted, uri: from },
      { type: FileChangeType.Created, uri: to },
    ]);
  }

  dispose(): void {
    clearTimeout(this.telling);
    this.disposable.dispose();
  }

  private address(uri: Uri): Address | typeof NOTHING {
    const address = addressOf(uri);
    if (!address) throw FileSystemError.FileNotFound(uri);
    return address;
  }

  /** Where to write. */
  private living(uri: Uri): { sandbox: string; branch?: string; path: string } {
    const address = this.address(uri);
    if (address === NOTHING || !isLive(address)) throw readOnly();
    const { sandbox, at, path } = address;
    return at === 'head' ? { sandbox, path } : { sandbox, branch: at, path };
  }

  private async asking<T>(uri: Uri, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw toFileSystemError(uri, error);
    }
  }

  /** Says so to whoever reads a file of it: the editor shows what it has loaded, and nothing else tells that it is all there is. */
  private goneFromUnder(checkpoint: string): void {
    this.gone.add(checkpoint);
    clearTimeout(this.telling);
    // Old ones are deleted many at once.
    this.telling = setTimeout(() => {
      const names = [...this.gone];
      this.gone.clear();
      const some = names.slice(0, 3).join(', ') + (names.length > 3 ? '…' : '');
      tell(
        this.app.log,
        names.length === 1
          ? t('Checkpoint {0} was deleted. What is open of it stays readable until it is closed.', some)
          : t(
              '{0} checkpoints were deleted ({1}). What is open of them stays readable until it is closed.',
              names.length,
              some,
            ),
      );
    }, SETTLE_MS);
  }

  /** Whether any document is concerned. */
  private fire(sandbox: string, at: string | undefined, type: FileChangeType): boolean {
    const events = workspace.textDocuments.flatMap(({ uri }) => {
      const address = uri.scheme === SCHEME ? addressOf(uri) : undefined;
      if (!address || address === NOTHING || address.sandbox !== sandbox) return [];
      const hit = at === undefined || (at === 'branches' ? isLive(address) : address.at === at);
      return hit ? [{ type, uri }] : [];
    });
    if (events.length > 0) this.changed.fire(events);
    return events.length > 0;
  }
}

function asked({ sandbox, at, path }: Address) {
  return { sandbox, at, path };
}

function readOnly(): FileSystemError {
  return FileSystemError.NoPermissions(t('Files of a past moment can’t be changed.'));
}

function toFileSystemError(uri: Uri, error: unknown): unknown {
  if (!(error instanceof HelperError)) return error;
  switch (error.code) {
    case 'unknownPath':
      return FileSystemError.FileNotFound(uri);
    case 'unknownCheckpoint':
    case 'unknownBranch':
    case 'unknownSandbox':
      return FileSystemError.FileNotFound(t('{0} Its files can’t be shown any more.', error.message));
    case 'notADirectory':
      return FileSystemError.FileNotADirectory(uri);
    case 'notAFile':
      return FileSystemError.FileIsADirectory(uri);
    case 'notAllowed':
      return FileSystemError.NoPermissions(error.message);
    case 'pathExists':
      return FileSystemError.FileExists(uri);
    default:
      return FileSystemError.Unavailable(error.message);
  }
}

export const fileSystem: Feature = (app) => {
  const provider = new MomentFiles(app);
  return Disposable.from(provider, app.doors.files.leadsTo(provider));
};
