/** As state.py, for Node: `node NAME.mjs` in the folder with `go`; the module's name is the state's. */
import { existsSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const top = process.cwd();
const name = basename(process.argv[1], '.mjs');

function tell(folder, text) {
  const file = join(top, folder, name);
  writeFileSync(`${file}.new`, text);
  renameSync(`${file}.new`, file);
}

export async function until(condition, what, seconds = 8) {
  for (const end = performance.now() + seconds * 1000; !(await condition()); await sleep(20))
    if (performance.now() > end) throw new Error(`${what}: not within ${seconds} s`);
}

export async function state(setUp) {
  process.title = name;
  mkdirSync(join(top, 'work', name));
  process.chdir(join(top, 'work', name));
  let check;
  try {
    check = await setUp();
  } catch (error) {
    tell('ready', `fail: not set up: ${error.stack}`);
    process.exit();
  }
  tell('ready', 'ready');
  while (!existsSync(join(top, 'go'))) await sleep(40);
  try {
    await check();
    tell('results', 'pass');
  } catch (error) {
    tell('results', `fail: ${error.stack}`);
  }
  process.exit();
}
