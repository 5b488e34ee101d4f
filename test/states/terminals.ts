/** Terminal sessions: a shell with background jobs, and full-screen programs. They are checked from outside, by typing. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Rig } from './rig.ts';

interface Script {
  argv: string[];
  /** Typed one after the other, each once the screen shows what stands before it. */
  before: [type: string, shows: RegExp][];
  after: [type: string, shows: RegExp][];
}

const SCRIPTS: Record<string, Script> = {
  'terminal with jobs': {
    argv: ['bash', '--norc', '-i'],
    before: [
      ['PS1="> "; sleep 1000 & sleep 2000 &\n', /\[2\] \d+/],
      ['cat > typed\n', /cat > typed/],
      ['one line\n', /one line/],
      ['\x1a', /Stopped/],
      ['echo shell-$((40+2))\n', /shell-42/],
    ],
    after: [
      ['jobs\n', /Running +sleep 1000[\s\S]*Running +sleep 2000[\s\S]*Stopped +cat > typed/],
      ['fg %3\n', /cat > typed/],
      ['second line\n\x04', /second line/],
      ['cat typed; kill %1 %2; echo "done"-$?\n', /one line\r\nsecond line\r\n[\s\S]*done-0/],
    ],
  },
  vim: {
    argv: ['vim', '-u', 'NONE', '-N', 'edited.txt'],
    before: [
      ['ihello from before\x1b', /hello from before/],
      [':set number\r', /1 /],
    ],
    after: [
      ['oand after\x1b', /and after/],
      ['u', /1 line less|--No lines|less/],
      [':w\r', /written/],
    ],
  },
  less: {
    argv: ['sh', '-c', "seq -f 'line %g' 5000 > long.txt; exec less long.txt"],
    before: [
      ['/line 1234\n', /line 1234/],
      ['G', /END/],
    ],
    after: [
      ['g', /line 2\r[\s\S]*line 1\r/], // scrolls backwards, line by line
      ['/line 777\n', /line 777/],
    ],
  },
};

/** What they show, without control sequences. */
function plain(text: string): string {
  return text.replace(/\x1b(\[[0-9;?>]*[a-zA-Z]|[()][A-Z0-9]|[=>]|\][^\x07]*\x07)/g, '');
}

export class Terminals {
  static readonly NAMES = Object.keys(SCRIPTS);
  private readonly rig: Rig;
  private readonly sessions = new Map<string, string>();

  constructor(rig: Rig) {
    this.rig = rig;
  }

  async start(): Promise<void> {
    const { sandbox, connection } = this.rig;
    for (const [name, { argv, before }] of Object.entries(SCRIPTS)) {
      const opened = await connection.request('session/open', { sandbox, kind: 'terminal', argv, cols: 90, rows: 24 });
      this.sessions.set(name, opened.session);
      await this.play(opened.session, before, undefined);
    }
  }

  async check(branch?: string): Promise<Map<string, string>> {
    const told = new Map<string, string>();
    await Promise.all(
      [...this.sessions].map(async ([name, session]) => {
        try {
          await this.play(session, SCRIPTS[name]!.after, branch);
          told.set(name, 'pass');
        } catch (error) {
          told.set(name, (error as Error).message);
        }
      }),
    );
    return told;
  }

  private async play(session: string, steps: Script['before'], branch: string | undefined): Promise<void> {
    const { sandbox, connection } = this.rig;
    let shown = '';
    const stop = connection.on('session/output', (o) => {
      if (o.session === session) shown += Buffer.from(o.data, 'base64').toString();
    });
    try {
      await connection.request('session/attach', { sandbox, session, branch });
      for (const [type, shows] of steps) {
        shown = '';
        const data = Buffer.from(type).toString('base64');
        await connection.request('session/write', { sandbox, session, branch, data });
        const end = Date.now() + 8000;
        while (!shows.test(plain(shown))) {
          if (Date.now() > end)
            throw new Error(`typed ${JSON.stringify(type)}, shown: ${JSON.stringify(plain(shown))}`);
          await sleep(10);
        }
      }
    } finally {
      stop();
    }
  }
}
