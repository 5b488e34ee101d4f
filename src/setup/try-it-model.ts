import { t } from '../l10n.ts';
import { duration } from '../views/words.ts';

/** What the sample does, step by step. Each line runs in the sandbox's own shell. */
export interface SampleStep {
  readonly say: string;
  readonly line?: string;
  readonly act?: 'checkpoint' | 'rollback';
}

/** A program that counts in its memory alone, files that matter, and then a command that destroys both. */
export const COUNTER =
  'python3 -u -c \'import time\nn = 0\nwhile True:\n  n += 1\n  open("count.txt", "w").write(str(n))\n  time.sleep(0.1)\' & echo $! >counter.pid; sleep 1; NAME=unchanged; ls; cat count.txt';

export function sampleSteps(): SampleStep[] {
  return [
    { say: t('A program starts to count, in its memory.'), line: COUNTER },
    { say: t('This is a good moment to come back to.'), act: 'checkpoint' },
    {
      say: t('Now an accident: every file deleted, the program killed, a variable lost.'),
      line: 'kill -9 "$(cat counter.pid)"; rm -rf ./* ; unset NAME; ls -A; echo "NAME is \'$NAME\'"',
    },
    { say: t('One step back.'), act: 'rollback' },
    {
      say: t('Files, variable and the program: all as it was, and the program counts on.'),
      line: 'ls; echo "NAME is \'$NAME\'"; a=$(cat count.txt); sleep 0.5; b=$(cat count.txt); echo "counted from $a to $b"; kill -0 "$(cat counter.pid)" && [ "$b" -gt "$a" ]',
    },
  ];
}

const BOLD = '\x1b[1m';
const DIM = '\x1b[2m';
const GREEN = '\x1b[32m';
const RED = '\x1b[31m';
const OFF = '\x1b[0m';

export const words = {
  begin: () =>
    `${BOLD}${t('A sample wrecks itself and comes back')}${OFF}\r\n${DIM}${t('Nothing of yours is touched: it has a folder of its own.')}${OFF}\r\n`,
  step: (say: string) => `\r\n${BOLD}${say}${OFF}\r\n`,
  line: (line: string) => `${DIM}$ ${line.replace(/\n/g, '\r\n  ')}${OFF}\r\n`,
  output: (text: string) => text.replace(/\r?\n/g, '\r\n'),
  checkpoint: (id: string, ms: number) =>
    `${GREEN}✓${OFF} ${t('checkpoint {0}, the program was stopped for {1}', id, duration(ms))}\r\n`,
  rollback: (id: string, ms: number) => `${GREEN}✓${OFF} ${t('back at {0} in {1}', id, duration(ms))}\r\n`,
  good: () =>
    `\r\n${GREEN}${BOLD}${t('Everything is back.')}${OFF} ${t('Look at the timeline in the side bar: each line is a moment you can go to.')}\r\n`,
  bad: (why: string) => `\r\n${RED}${BOLD}${t('That did not work:')}${OFF} ${why}\r\n`,
};
