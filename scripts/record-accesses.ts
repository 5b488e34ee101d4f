/**
 * test/sandbox/patterns/*.json: what the policy of standbys sees while real sandboxes are used, and how its choice turned out. All of it
 * is heard as a client hears it. With a helper of its own. Needs root. What is recorded is what the machine did that day: a new
 * recording may want other bounds in test/sandbox/policy.test.ts.
 *
 *   tsx scripts/record-accesses.ts [NAME…]
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Connection } from '../helper/client/connection.ts';
import { HelperProcess, workspace } from '../test/daemon/helper-process.ts';
import type { Happened, Made, Recording } from '../test/sandbox/recording.ts';

const root = resolve(__dirname, '..');
const folder = join(root, 'test/sandbox/patterns');

/** The same of each recording. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1103515245 + 12345) & 0x7fffffff;
    return (state >> 8) / 2 ** 23;
  };
}

/** A sandbox that is written down. */
class Recorder {
  private readonly connection: Connection;
  private readonly happened: Happened[] = [];
  private readonly made = new Map<string, Made>();
  private readonly random = randomFrom(7);
  private begun = performance.now();
  /** The moment that the head was made from, whose layers lie below what is made next. */
  private base: string | null = null;
  private id = '';
  /** The moment that the head is at. */
  current = '';

  private constructor(connection: Connection) {
    this.connection = connection;
  }

  static async create(connection: Connection, dir: string): Promise<Recorder> {
    const recorder = new Recorder(connection);
    const { sandbox, checkpoint } = await connection.request('sandbox/create', { workspace: dir });
    recorder.id = sandbox.id;
    const { checkpoints } = await connection.request('checkpoint/list', { sandbox: sandbox.id });
    recorder.begun = performance.now();
    recorder.add(checkpoint, null, checkpoints[0]!.bytes);
    connection.on('checkpoint/added', ({ checkpoint: { id, parent, bytes } }) => recorder.add(id, parent, bytes));
    connection.on('checkpoint/changed', ({ checkpoint: { id, state } }) => {
      const made = recorder.made.get(id);
      if (made && state.verified) made.proven ??= recorder.since(made.at);
    });
    connection.on('head/moved', ({ cause, checkpoint: at }) => {
      if (cause === 'rotate') recorder.base = at;
    });
    recorder.current = checkpoint;
    recorder.base = checkpoint;
    return recorder;
  }

  private since(at = 0): number {
    return Math.round((performance.now() - this.begun - at) * 10) / 10;
  }

  private add(id: string, parent: string | null, bytes: number): void {
    const made: Made = { at: this.since(), made: id, parent, base: this.base, bytes };
    this.made.set(id, made);
    this.happened.push(made);
  }

  /** A model's answer is waited for. */
  async think(leastMs: number, mostMs: number): Promise<void> {
    await sleep(leastMs + this.random() * (mostMs - leastMs));
  }

  pick(n: number): number {
    return Math.floor(this.random() * n);
  }

  /** A line, and the moment after it. */
  async step(line: string): Promise<{ ok: boolean; checkpoint: string }> {
    const { exitCode, checkpoint } = await this.connection.request('run', { sandbox: this.id, line });
    this.current = checkpoint!.id;
    return { ok: exitCode === 0, checkpoint: this.current };
  }

  async run(line: string, branch?: string): Promise<string> {
    const { output } = await this.connection.request('run', { sandbox: this.id, branch, line, checkpoint: false });
    return Buffer.from(output, 'base64').toString().trim();
  }

  /** @param expected the moments that will be gone back to next */
  async keep(expected: string[]): Promise<string> {
    this.happened.push({ at: this.since(), hints: expected });
    const { checkpoint } = await this.connection.request('checkpoint/create', { sandbox: this.id, expect: expected });
    this.current = checkpoint.id;
    return checkpoint.id;
  }

  /** What is left behind was a checkpoint already. */
  async goTo(checkpoint: string): Promise<void> {
    const at = this.since();
    const asked = { sandbox: this.id, checkpoint, discard: true };
    const { path } = await this.connection.request('checkpoint/rollback', asked);
    this.happened.push({ at, moved: checkpoint, path, ms: this.since(at) });
    this.current = checkpoint;
    this.base = checkpoint;
  }

  async fork(checkpoint: string): Promise<string> {
    const at = this.since();
    const { branch, path } = await this.connection.request('branch/fork', { sandbox: this.id, checkpoint });
    this.happened.push({ at, forked: checkpoint, path, ms: this.since(at) });
    return branch;
  }

  async discard(branch: string): Promise<void> {
    await this.connection.request('branch/discard', { sandbox: this.id, branch });
  }

  async end(): Promise<Happened[]> {
    await this.connection.request('sandbox/remove', { sandbox: this.id });
    return this.happened.sort((a, b) => a.at - b.at);
  }
}

interface Use {
  what: string;
  files: Record<string, string>;
  play(sandbox: Recorder): Promise<void>;
}

const DIGITS = 40;
const ANSWER = Array.from({ length: DIGITS }, randomFrom(3)).map((n) => Math.floor(n * 4));

/** Row by row; ends with 1 where the queens just placed take each other. */
const PLACE = `echo "$1" >> board
awk '{ for (i = 1; i < NR; i++) if (c[i] == $1 || NR - i == $1 - c[i] || NR - i == c[i] - $1) bad = 1; c[NR] = $1 } END { exit bad }' board
`;
const QUEENS = 5;

const ACTIONS = [
  "sed -i 's/v1/v2/g' *",
  "sed -i 's/v1/v2/g' config1.json",
  "sed -i 's/v1/v2/g' config2.json",
  'rm -f config1.json',
  'true',
];
const EXPANSIONS = 100;

const ROLLOUTS = 100;
const WIDTH = 8;
const SLOW_ROLLOUTS = 25;

const USES: Record<string, Use> = {
  undo: {
    what: `linear undo: an unknown code of ${DIGITS} digits of 4 is found digit by digit; one that is wrong is taken back, and with the third in a row the one before it, too`,
    files: { answer: `${ANSWER.join('\n')}\n` },
    async play(sandbox) {
      const good = [sandbox.current];
      let wrong = 0;
      let left = [0, 1, 2, 3];
      for (let digit = 0; digit < DIGITS; ) {
        await sandbox.think(60, 250);
        const [guess] = left.splice(sandbox.pick(left.length), 1);
        const { ok, checkpoint } = await sandbox.step(`echo ${guess} >> code; cmp -n $(stat -c %s code) code answer`);
        if (ok) {
          good.push(checkpoint);
          digit++;
          wrong = 0;
          left = [0, 1, 2, 3];
          continue;
        }
        await sandbox.think(60, 250);
        const doubts = ++wrong === 3 && digit > 0;
        if (doubts) good.pop();
        await sandbox.goTo(good.at(-1)!);
        if (!doubts) continue;
        // It was right all the same.
        await sandbox.think(60, 250);
        good.push((await sandbox.step(`echo ${ANSWER[digit - 1]} >> code`)).checkpoint);
      }
    },
  },
  'depth-first': {
    what: `depth-first search: all placings of ${QUEENS} queens on ${QUEENS} × ${QUEENS} fields, each try a step`,
    files: { 'place.sh': PLACE },
    async play(sandbox) {
      const search = async (at: string, row: number): Promise<void> => {
        for (let column = 1; column <= QUEENS; column++) {
          if (sandbox.current !== at) await sandbox.goTo(at);
          await sandbox.think(40, 120);
          const { ok, checkpoint } = await sandbox.step(`sh place.sh ${column}`);
          await sandbox.think(40, 120);
          if (ok && row < QUEENS) await search(checkpoint, row + 1);
        }
      };
      await search(sandbox.current, 1);
    },
  },
  mcts: {
    what: `tree search by UCT, ${EXPANSIONS} expansions: the sed trap of the bench; the search says what it expects as soon as it knows, and the model answers in 100-300 ms`,
    files: Object.fromEntries(
      ['config1.json', 'config2.json', 'ignore_me.txt'].map((name) => [name, '{"api_version": "v1"}\n']),
    ),
    async play(sandbox) {
      interface Node {
        id: string;
        tried: number;
        visits: number;
        value: number;
        children: Node[];
      }
      const root: Node = { id: sandbox.current, tried: 0, visits: 0, value: 0, children: [] };
      const choose = (): Node[] => {
        const path = [root];
        for (let at = root; at.tried === ACTIONS.length; path.push(at)) {
          const score = (n: Node): number => n.value / n.visits + 1.4 * Math.sqrt(Math.log(at.visits) / n.visits);
          at = at.children.reduce((best, n) => (score(n) > score(best) ? n : best));
        }
        return path;
      };
      for (let i = 0; i < EXPANSIONS; i++) {
        const path = choose();
        const node = path.at(-1)!;
        await sandbox.think(100, 300);
        if (sandbox.current !== node.id) await sandbox.goTo(node.id);
        const action = ACTIONS[node.tried++]!;
        const said = await sandbox.run(`${action}; grep -l v2 *.json | wc -l; grep -c v1 ignore_me.txt || true`);
        const [changed, kept] = said.split('\n').slice(-2).map(Number);
        const child: Node = { id: '', tried: 0, visits: 0, value: 0, children: [] };
        node.children.push(child);
        for (const n of [...path, child]) {
          n.visits++;
          n.value += (changed! + 2 * kept!) / 4;
        }
        const next = choose().at(-1)!;
        child.id = await sandbox.keep(next === child ? [] : [next.id]);
      }
    },
  },
  wide: {
    what: `wide fan-out: ${ROLLOUTS} rollouts from the current moment, ${WIDTH} at once, then ${ROLLOUTS} from the same while the head is four steps on (a model answers in 200-400 ms), then ${SLOW_ROLLOUTS} one at a time (in 1000-1200 ms)`,
    files: { reward: '1\n' },
    async play(sandbox) {
      const { checkpoint } = await sandbox.step('MARK=base');
      const rollouts = async (count: number, width: number, leastMs: number): Promise<void> => {
        let left = count;
        const work = async (): Promise<void> => {
          while (left-- > 0) {
            await sandbox.think(leastMs, leastMs + 200);
            const branch = await sandbox.fork(checkpoint);
            const reward = await sandbox.run('echo 2 > reward; cat reward', branch);
            if (reward !== '2') throw new Error(`a rollout's reward was ${reward}`);
            await sandbox.discard(branch);
          }
        };
        await Promise.all(Array.from({ length: width }, work));
      };
      await rollouts(ROLLOUTS, WIDTH, 200);
      for (let i = 0; i < 4; i++) {
        await sandbox.think(200, 400);
        await sandbox.step(`echo ${i} >> log`);
      }
      await rollouts(ROLLOUTS, WIDTH, 200);
      await rollouts(SLOW_ROLLOUTS, 1, 1000);
    },
  },
};

async function record({ what, files, play }: Use): Promise<Recording> {
  const dir = workspace(files);
  const helper = await HelperProcess.start();
  try {
    const sandbox = await Recorder.create(await helper.connect(), dir);
    await play(sandbox);
    return {
      what,
      how: `scripts/record-accesses.ts: a real sandbox, heard as a client hears it; times in ms; ${cpus().length} processors, shared`,
      date: new Date().toISOString().slice(0, 10),
      happened: await sandbox.end(),
    };
  } finally {
    await helper.stop();
    rmSync(dir, { recursive: true, force: true });
  }
}

/** One event a line, as the formatter leaves it. */
function written({ happened, ...head }: Recording): string {
  const value = (of: unknown): string => JSON.stringify(of).replaceAll(/(?<="):|,(?=")/g, (sign) => `${sign} `);
  const fields = Object.entries(head).map(([name, said]) => `  ${JSON.stringify(name)}: ${JSON.stringify(said)},`);
  const lines = happened.map((one) => `    ${value(one).replace(/^\{/, '{ ').replace(/\}$/, ' }')}`);
  return `{\n${fields.join('\n')}\n  "happened": [\n${lines.join(',\n')}\n  ]\n}\n`;
}

async function main(): Promise<void> {
  mkdirSync(folder, { recursive: true });
  const named = process.argv.slice(2);
  for (const [name, use] of Object.entries(USES)) {
    if (named.length > 0 && !named.includes(name)) continue;
    const recording = await record(use);
    const text = written(recording);
    writeFileSync(join(folder, `${name}.json`), text);
    const paths = recording.happened.flatMap((one) => ('path' in one ? [one.path] : []));
    const warm = paths.filter((path) => path === 'warm').length;
    console.log(`${name}: ${warm} of ${paths.length} from a standby, ${text.length} bytes`);
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
