/**
 * Many layers as one, so that the depth of a tree of checkpoints costs nothing: the kernel mounts 500 at most, and looks up a
 * name in each. What lies below them stays what it is: names that they hide are hidden by whiteouts and opaque directories, and a
 * directory that was renamed leads to where the layers below have it.
 */
import { close, lastTimes, OPEN_DIRECTORY, OPEN_PATH, openAt, openRoot, statAt } from './at.ts';
import { type Copy, copyOther, finishDirectory, newCopy } from './copy.ts';
import { faultPoint } from './fault.ts';
import type { Source } from './layer.ts';
import { cBytes, check, libc, showBytes, toBytes } from './libc.ts';
import { MergedDirectory } from './merged-directory.ts';
import type { Steps } from './same-content.ts';
import { LayerStack } from './stack.ts';
import { mknodat } from './syscalls.ts';

const AT_FDCWD = -100;
const S_IFCHR = 0o020000;
const OPAQUE = 'trusted.overlay.opaque';
const REDIRECT = 'trusted.overlay.redirect';
/** Those of the layers say what is hidden or renamed of other layers. */
const carried = (xattr: string): boolean => xattr !== OPAQUE && xattr !== REDIRECT;

/**
 * Makes the directory `to`, which must not exist yet, a layer that shows over the others what the first `depth` of them do,
 * sharing extents where the file system can. Nothing may write to any of them.
 * @param paths all layers, top first; more than `depth`
 */
export function* flatten(paths: readonly string[], depth: number, to: string): Steps<void> {
  const stack = new LayerStack(paths);
  stack.retain();
  check(libc().mkdirat(AT_FDCWD, cBytes(toBytes(to)), 0o700), 'mkdir', to);
  const target = openRoot(to);
  try {
    const flat = new Flat(stack, depth, newCopy(target));
    yield* flat.fill(target, '', stack.rootEntry().sources.slice(0, depth), '');
  } finally {
    close(target);
    stack.release();
  }
}

class Flat {
  private readonly stack: LayerStack;
  private readonly depth: number;
  private readonly copy: Copy;

  constructor(stack: LayerStack, depth: number, copy: Copy) {
    this.stack = stack;
    this.depth = depth;
    this.copy = copy;
  }

  /**
   * @param sources the directories that are merged in this one, of the layers in question
   * @param path below the root, '' or ending in a slash
   * @param below as `Found`; the same name, '' at the root: nothing is to be said
   */
  *fill(
    target: number,
    name: string,
    sources: readonly Source[],
    path: string,
    below: string | null = name,
  ): Steps<void> {
    const directory = new MergedDirectory(this.stack.layers, sources, this.depth);
    try {
      for (const [child, first] of directory.names()) {
        yield;
        faultPoint('flatten:part');
        const found = directory.look(child, first);
        if (found.entry === null) mknodat(target, cBytes(child), S_IFCHR, 0, showBytes(path + child));
        else if (found.entry.type !== 'folder') this.copyFile(found.entry.top, target, path, child);
        else {
          check(libc().mkdirat(target, cBytes(child), 0o700), 'mkdir', showBytes(path + child));
          const made = openAt(target, child, OPEN_DIRECTORY);
          try {
            yield* this.fill(made, child, found.entry.sources, `${path}${child}/`, found.below);
          } finally {
            close(made);
          }
        }
      }
    } finally {
      directory.close();
    }
    this.finish(sources[0]!, target, name, below);
  }

  private copyFile(source: Source, target: number, path: string, name: string): void {
    const at = source.path.lastIndexOf('/');
    const dir = open(source.layer, source.path.slice(0, Math.max(at, 0)), OPEN_PATH);
    try {
      copyOther(this.copy, dir, target, path, name, statAt(dir, source.path.slice(at + 1))!);
    } finally {
      close(dir);
    }
  }

  private finish(top: Source, target: number, name: string, below: string | null): void {
    const from = open(top.layer, top.path, OPEN_DIRECTORY);
    try {
      const stat = statAt(from, '.')!;
      const times = lastTimes();
      if (below === null) setXattr(target, OPAQUE, 'y');
      else if (below !== name) setXattr(target, REDIRECT, below);
      finishDirectory(this.copy, from, target, stat, times, carried);
    } finally {
      close(from);
    }
  }
}

function open(layer: Source['layer'], path: string, flags: number): number {
  const fd = layer.open(path, flags);
  if (fd === null) throw new Error(`${layer.path}/${showBytes(path)} is gone`);
  return fd;
}

function setXattr(fd: number, name: string, value: string): void {
  const bytes = Buffer.from(value, 'latin1');
  check(libc().fsetxattr(fd, Buffer.from(`${name}\0`), bytes, bytes.length, 0), 'fsetxattr');
}
