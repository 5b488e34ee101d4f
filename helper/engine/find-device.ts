/** Looks for a device node in a tree. */
import { close, DT_DIR, namesIn, OPEN_DIRECTORY, openBeneath, openRoot, statAt } from './at.ts';
import { showBytes } from './libc.ts';

const CHARACTER = 0o020000;
const BLOCK = 0o060000;
const BATCH = 500;

/** Its path in there, or null. Mounts are not entered. Lets others work in between. */
export async function findDevice(dir: string): Promise<string | null> {
  const root = openRoot(dir);
  try {
    const folders = ['.'];
    for (let n = 1, path = folders.pop(); path !== undefined; n++, path = folders.pop()) {
      if (n % BATCH === 0) await new Promise(setImmediate);
      const fd = open(root, path);
      if (fd === null) continue;
      try {
        for (const { name, type } of namesIn(fd)) {
          if (type === DT_DIR) folders.push(`${path}/${name}`);
          else if (type === 0 || type === CHARACTER >> 12 || type === BLOCK >> 12) {
            const stat = statAt(fd, name);
            if (stat?.isDirectory) folders.push(`${path}/${name}`);
            // A whiteout opens nothing.
            else if ((stat?.format === CHARACTER || stat?.format === BLOCK) && !stat.isWhiteout)
              return showBytes(`${path}/${name}`.slice(1));
          }
        }
      } finally {
        close(fd);
      }
    }
    return null;
  } finally {
    close(root);
  }
}

function open(root: number, path: string): number | null {
  try {
    return openBeneath(root, path, OPEN_DIRECTORY);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EXDEV') return null;
    throw error;
  }
}
