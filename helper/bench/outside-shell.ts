/** A small shell outside that runs already: what a command costs anybody. A large process that starts one pays for its own size first. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

export interface OutsideShell {
  /** Milliseconds that the line takes, by the shell's own clock: what it costs to talk to it is not in it. */
  ms(line: string): Promise<number>;
  end(): Promise<void>;
}

export function outsideShell(): OutsideShell {
  // A process group of its own: Ctrl-C in a terminal is for the benchmark alone, which then ends it.
  const shell = spawn('bash', ['--norc', '--noprofile'], { stdio: ['pipe', 'pipe', 'inherit'], detached: true });
  // It may end before it reads what it is told.
  shell.stdin.on('error', () => {});
  const ended = once(shell, 'exit');
  const lines = createInterface({ input: shell.stdout })[Symbol.asyncIterator]();
  return {
    async ms(line) {
      shell.stdin.write(`t=\${EPOCHREALTIME/./}; { ${line}; } >/dev/null; echo $? $(( \${EPOCHREALTIME/./} - t ))\n`);
      const { value = '' } = await lines.next();
      const [code, microseconds] = value.split(' ').map(Number);
      if (!value || code !== 0) throw new Error(`outside, ${JSON.stringify(line)} ended with ${value || 'the shell'}`);
      return microseconds! / 1000;
    },
    async end() {
      shell.stdin.end();
      await ended;
    },
  };
}
