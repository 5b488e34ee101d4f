/** The one place that runs the `multipass` command. */
import { t } from '../../l10n.ts';
import { classify, type Ended, MultipassError, updateHint } from './errors.ts';
import type { Operation } from './operations.ts';

export interface RunOptions {
  readonly signal?: AbortSignal;
  /** Output as it comes, in whatever pieces. */
  readonly onOutput?: (text: string) => void;
  /** The machine it is about, for messages. */
  readonly machine?: string;
}

/** Runs operations. What the launch is written against, so that its tests can look at every call. */
export interface Runner {
  readonly command: string;
  readonly platform: NodeJS.Platform;
  /** @throws MultipassError */
  run<T>(operation: Operation<T>, options?: RunOptions): Promise<T>;
}

export interface Program {
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

export interface ProgramOptions extends RunOptions {
  readonly stdin?: string | NodeJS.ReadableStream;
  readonly timeoutMs: number;
}

/** Runs a program to its end, whatever that is. Throws only what the input stream failed with. */
export async function runProgram(program: Program, options: ProgramOptions): Promise<Ended> {
  // Loaded when it is needed, not when the window opens.
  const { execa } = await import('execa');
  const input = options.stdin;
  const running = execa(program.command, [...program.args], {
    env: { ...program.env },
    reject: false,
    timeout: options.timeoutMs,
    cancelSignal: options.signal,
    forceKillAfterDelay: 2_000,
    maxBuffer: 10_000_000,
    stripFinalNewline: false,
    windowsHide: true,
    ...(typeof input === 'string' ? { input } : { stdin: input === undefined ? 'ignore' : 'pipe' }),
  });
  if (options.onOutput)
    for (const stream of [running.stdout, running.stderr])
      stream?.on('data', (data: Buffer) => options.onOutput?.(data.toString()));
  let broken: unknown;
  if (input !== undefined && typeof input !== 'string' && running.stdin) {
    const { pipeline } = await import('node:stream/promises');
    // A program that ends without reading all is told by its exit code; what the source itself failed with is not.
    input.once('error', (error: NodeJS.ErrnoException) => {
      // The pipeline hands the program's end on to the source, as an error of these codes.
      if (!['EPIPE', 'ECONNRESET', 'ERR_STREAM_PREMATURE_CLOSE'].includes(error.code ?? '')) broken = error;
    });
    await pipeline(input, running.stdin).catch(() => {});
  }
  const ended = await running;
  if (broken !== undefined && !options.signal?.aborted) throw broken;
  return {
    exitCode: ended.exitCode,
    stdout: String(ended.stdout ?? ''),
    stderr: String(ended.stderr ?? ''),
    ...(ended.code === undefined ? {} : { errno: ended.code }),
    timedOut: ended.timedOut,
    cancelled: ended.isCanceled,
  };
}

export function multipassRunner(command: string, platform: NodeJS.Platform = process.platform): Runner {
  return {
    command,
    platform,
    run: async (operation, options = {}) => {
      const { name, args, stdin, timeoutMs, parse } = operation;
      const ended = await runProgram({ command, args }, { ...options, stdin, timeoutMs });
      if (ended.exitCode !== 0) throw classify(name, options.machine ?? '', ended, platform);
      try {
        return parse(ended.stdout);
      } catch (error) {
        const detail = error instanceof Error ? error.message.split('\n')[0] : String(error);
        throw new MultipassError(
          'unexpectedOutput',
          t('The answer of “multipass {0}” was not understood: {1}', name, detail ?? ''),
          updateHint(platform),
          { cause: error },
        );
      }
    },
  };
}
