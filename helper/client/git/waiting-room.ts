/**
 * A repository of our own for a moment, in which a sandbox's objects wait to be fetched. Its settings are ours; it borrows from the
 * user's repository what the sandbox began with.
 */
import { createWriteStream } from 'node:fs';
import { chown, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, posix } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { TeleportError } from '../../protocol/errors.ts';
import { each } from '../apply/changed.ts';
import type { Place } from '../apply/place.ts';
import type { ObjectFiles } from './inside.ts';
import { firstComplaint, type GitOptions, runGit } from './run-git.ts';

/** Below it are the names that are to be fetched. */
export const WAITING = 'refs/waiting/';

export type Rights = Pick<GitOptions, 'as' | 'env' | 'signal'>;

export class WaitingRoom {
  private constructor(
    readonly dir: string,
    private readonly rights: Rights,
  ) {}

  /** @param users the repository that it is for: its common folder */
  static async open(users: string, format: string, rights: Rights): Promise<WaitingRoom> {
    const dir = await mkdtemp(join(tmpdir(), 'teleport-env-git-'));
    const room = new WaitingRoom(dir, rights);
    try {
      if (rights.as) await chown(dir, rights.as.uid, rights.as.gid);
      await room.git(['init', '-q', '--bare', '--template=', `--object-format=${format}`, dir]);
      await writeFile(join(dir, 'objects/info/alternates'), `${join(users, 'objects')}\n`);
      // Where the user's history is cut off, so is the sandbox's.
      const shallow = await readFile(join(users, 'shallow')).catch(() => null);
      if (shallow) await writeFile(join(dir, 'shallow'), shallow);
      return room;
    } catch (error) {
      await room.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    await rm(this.dir, { recursive: true, force: true });
  }

  /** Brings objects in. Packs get an index of our own making. @throws TeleportError `gitRefused` */
  async take(files: ObjectFiles, place: Place, objects: string): Promise<void> {
    await each(files.loose, async (name) => {
      const target = join(this.dir, 'objects', name);
      // Told apart by their content: what is there already is the same.
      if (await stat(target).catch(() => null)) return;
      await mkdir(dirname(target), { recursive: true });
      await this.handOver(dirname(target));
      await pipeline(Readable.from(place.read(posix.join(objects, name))), createWriteStream(target, { mode: 0o444 }));
      await this.handOver(target);
    });
    for (const name of files.packs) {
      const input = place.read(posix.join(objects, name));
      await this.git(['index-pack', '--stdin', '--fix-thin'], { repository: this.dir, input });
    }
  }

  /** Says what is to be fetched. @returns false where an object is missing */
  async name(refs: ReadonlyMap<string, string>): Promise<boolean> {
    const input = [...refs].map(([name, object]) => `update ${WAITING}${name}\0${object}\0\0`).join('');
    const { code } = await runGit(['update-ref', '--stdin', '-z'], { ...this.rights, repository: this.dir, input });
    return code === 0;
  }

  private async handOver(path: string): Promise<void> {
    if (this.rights.as) await chown(path, this.rights.as.uid, this.rights.as.gid);
  }

  private async git(argv: string[], options: GitOptions = {}): Promise<void> {
    const { code, stderr } = await runGit(argv, { ...this.rights, ...options });
    if (code === 0) return;
    throw new TeleportError('gitRefused', `git refused what the sandbox holds: ${firstComplaint(stderr)}`, {
      hint: 'inside, git fsck tells more',
    });
  }
}
