/** What came of a soak, as docs/soak.md tells it; and what must be so, or nothing is told at all. */
import { DEFAULTS, lanesOf, type Plan, type Run, SANDBOXES } from './plan.ts';
import { SHARES, tooFew } from './shares.ts';

export interface Part {
  run: Run;
  /** At which commit, or which changes of it (`codeName`). */
  code: string;
  failed: boolean;
  seconds: number;
  /** Mocha's last lines: how many passed, or what did not. */
  said: string;
  /** What the tests noted, a line of JSON each. */
  notes: string;
}

interface Note {
  what: string;
  [figure: string]: number | string | undefined;
}

/** What a part must have noted when it passed: it did all that was planned. */
const WANTED: Record<string, (run: Run, plan: Plan) => Note[]> = {
  'faults/helper-killed': ({ faults, seed }) => [{ what: 'helper killed', faults, seed }],
  'faults/rollbacks': (_, { rollbacks }) => [
    { what: 'rollbacks', rollbacks },
    { what: 'forks', forks: rollbacks },
  ],
  'faults/sandboxes': () => [{ what: 'further sandboxes', sandboxes: SANDBOXES }],
  depth: (_, { depth }) => [{ what: 'a deep line', depth }],
};

function notesOf({ notes }: Part): Note[] {
  return notes
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line));
}

function nameOf({ file, faults, seed }: Run): string {
  return file === 'faults/helper-killed' ? `${file}, ${faults} faults, seed ${seed}` : file;
}

/** What can't be true of one part. */
export function wrongWith(part: Part, plan: Plan): string[] {
  const notes = notesOf(part);
  const wrong: string[] = [];
  const told = notes.reduce((sum, { seconds = 0 }) => sum + Number(seconds), 0);
  if (told > part.seconds) wrong.push(`its notes tell of ${told} s, and it took ${part.seconds} s`);
  for (const what of new Set(notes.map((note) => note.what)))
    if (notes.filter((note) => note.what === what).length > 1) wrong.push(`"${what}" was noted twice`);
  for (const note of part.failed ? [] : (WANTED[part.run.file]?.(part.run, plan) ?? [])) {
    const found = notes.find(({ what }) => what === note.what);
    for (const [name, value] of Object.entries(note))
      if (found?.[name] !== value) wrong.push(`"${note.what}" was to tell of ${name} ${value}, not ${found?.[name]}`);
  }
  const rollbacks = notes.find(({ what }) => what === 'rollbacks');
  if (rollbacks) wrong.push(...tooFew(rollbacks, plan.rollbacks));
  return wrong.map((why) => `${nameOf(part.run)}: ${why}`);
}

/** What can't be true of all of them: whatever it is, figures of such a soak are not to be trusted. */
function wrongWithAll(parts: Part[], plan: Plan): string[] {
  const wrong = parts.flatMap((part) => wrongWith(part, plan));
  const codes = [...new Set(parts.map(({ code }) => code))];
  if (codes.length > 1) wrong.push(`parts of different code: ${codes.join(', ')}`);
  const names = parts.map(({ run }) => nameOf(run));
  for (const name of new Set(names))
    if (names.filter((other) => other === name).length > 1) wrong.push(`${name}: is there twice`);
  for (const name of lanesOf(plan).flat().map(nameOf)) if (!names.includes(name)) wrong.push(`${name}: is missing`);
  return wrong;
}

export interface Around {
  /** To the minute. */
  finished: string;
  cores: number;
  kernel: string;
  node: string;
}

/** @throws Error where it does not add up */
export function report(parts: Part[], plan: Plan, { finished, cores, kernel, node }: Around): string {
  const wrong = wrongWithAll(parts, plan);
  if (wrong.length > 0) throw new Error(`this soak does not add up:\n  ${wrong.join('\n  ')}`);
  const files = parts.map(
    ({ run, code, failed, seconds, said }) =>
      `| ${nameOf(run)} | ${failed ? 'FAILED' : /\d+ passing/.exec(said)?.[0]} | ${Math.round(seconds)} s | ${code} |`,
  );
  const rows = parts.flatMap((part) =>
    notesOf(part).map(({ what, ...figures }) => {
      const told = Object.entries(figures).map(([name, value]) => `${name} ${value}`);
      return `| ${what} | ${told.join(', ')} | ${part.code} |`;
    }),
  );
  return `# The last soak

Made by \`npm run soak\`, never by hand. Finished ${finished}Z, ${cores} cores,
kernel ${kernel}, Node ${node}. What each does: test/daemon/faults and test/daemon/depth.test.ts.

${counts(parts, plan)}

| tests | came to | took | at commit |
|---|---|---|---|
${files.join('\n')}

The counts at the end of a row are what the helper held when all sandboxes had been removed (or, for the rollbacks, after the last
one): the very same as before the first, or the test fails. \`more of\` is what the machine held then, beside what it had held before:
of files, files kept of the base, firewall and links nothing may be more, of the others what test/daemon/census.ts says.

| what | figures | at commit |
|---|---|---|
${rows.join('\n')}
${parts
  .filter(({ failed }) => failed)
  .map(({ run, said }) => `\n## ${nameOf(run)} failed\n\n\`\`\`\n${said.slice(-3000)}\n\`\`\`\n`)
  .join('')}`;
}

/** As the report calls them. */
const WAYS: Record<keyof typeof SHARES, string> = {
  warm: 'warm (a standby was taken)',
  cold: 'cold',
  saving: 'such as save first what they leave',
  undo: 'undoings, or those of undoings',
  deep: 'to deep checkpoints',
};

/** What was to be done and what was: a soak may be asked for less than its default. */
function counts(parts: Part[], plan: Plan): string {
  const notes = parts.flatMap(notesOf);
  const sum = (what: string, figure: string): number =>
    notes.filter((note) => note.what === what).reduce((all, note) => all + Number(note[figure] ?? 0), 0);
  const rows: [string, keyof Plan, number][] = [
    ['random kills of the helper', 'faults', sum('helper killed', 'faults')],
    ['rollbacks', 'rollbacks', sum('rollbacks', 'rollbacks')],
    ['forks', 'rollbacks', sum('forks', 'forks')],
    ['checkpoints in one line', 'depth', sum('a deep line', 'depth')],
  ];
  return `| | by default | planned | done |
|---|---|---|---|
${rows.map(([what, key, done]) => `| ${what} | ${DEFAULTS[key]} | ${plan[key]} | ${done} |`).join('\n')}

Of these kills ${sum('helper killed', 'hits')} were at the very point that was meant, the others right after. Of the rollbacks
${Object.keys(SHARES)
  .map((way) => `${sum('rollbacks', way)} were ${WAYS[way as keyof typeof SHARES]}`)
  .join(', ')}.`;
}
