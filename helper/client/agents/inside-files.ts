/** Small files inside a sandbox, read and written as the user's own processes in there would. */
import { TeleportError } from '../../protocol/errors.ts';
import { AttachedSession, type Link } from '../session.ts';

export interface Place {
  sandbox: string;
  branch?: string;
}

/** Runs a program to its end. @throws TeleportError where it can't be started or its sandbox moved meanwhile */
export async function runInside(
  link: Link,
  place: Place,
  argv: string[],
  input: Uint8Array = new Uint8Array(),
): Promise<{ exitCode: number; output: string }> {
  const output: Buffer[] = [];
  let settle: { done(code: number): void; fail(error: Error): void };
  const ended = new Promise<number>((done, fail) => {
    settle = { done, fail };
  });
  const session = await AttachedSession.open(
    link,
    { ...place, kind: 'process', argv, timeoutMs: 30_000 },
    {
      output: (_, data) => output.push(data),
      exit: (code) => settle.done(code),
      gone: (reason) => settle.fail(new TeleportError('cancelled', `the sandbox moved meanwhile: ${reason}`)),
    },
  );
  try {
    await session.write(input, true).catch(() => {}); // it may have ended by itself: its exit code tells
    return { exitCode: await ended, output: Buffer.concat(output).toString('utf8') };
  } finally {
    session.detach();
  }
}

/** Null where there is none. */
export async function readInside(link: Link, place: Place, path: string): Promise<string | null> {
  const { exitCode, output } = await runInside(link, place, ['sh', '-c', 'test -f "$1" && cat "$1"', 'sh', path]);
  return exitCode === 0 ? output : null;
}

const WRITE = 'umask 077 && mkdir -p "$(dirname "$1")" && cat > "$1"';

/** @throws TeleportError `workspaceUnwritable` */
export async function writeInside(link: Link, place: Place, path: string, data: Uint8Array): Promise<void> {
  const { exitCode, output } = await runInside(link, place, ['sh', '-c', WRITE, 'sh', path], data);
  if (exitCode === 0) return;
  throw new TeleportError('workspaceUnwritable', `${path} can't be written in the sandbox: ${output.trim()}`);
}
