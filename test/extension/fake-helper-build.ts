import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildSync } from 'esbuild';
import type { ScenarioName } from './scenarios.ts';

let orders = 0;

/** Makes a script in `folder` that is a helper playing a scenario, and a way to give it orders while it runs. */
export function makeFakeHelper(folder: string, scenario: ScenarioName, workspace: string) {
  const bundle = join(folder, 'fake-helper.cjs');
  buildSync({
    entryPoints: [join(__dirname, 'fake-helper.ts')],
    outfile: bundle,
    bundle: true,
    platform: 'node',
    format: 'cjs',
    logLevel: 'error',
  });
  const ordersFolder = join(folder, `orders-${scenario}`);
  mkdirSync(ordersFolder, { recursive: true });
  const path = join(folder, `fake-${scenario}.cjs`);
  const env = { FAKE_HELPER_SCENARIO: scenario, FAKE_HELPER_WORKSPACE: workspace, FAKE_HELPER_ORDERS: ordersFolder };
  writeFileSync(path, `Object.assign(process.env, ${JSON.stringify(env)});\nrequire('./fake-helper.cjs');\n`);
  return {
    path,
    /** Whether the extension has come to it. */
    asked: () => existsSync(join(ordersFolder, 'asked')),
    /** When it first answered such a request, in milliseconds since the epoch. */
    answered: (method: string) =>
      Number(readFileSync(join(ordersFolder, `answered ${method.replace('/', ' ')}`), 'utf8')),
    /** What it was asked by that name so far. */
    heard: (method: string): Record<string, unknown>[] =>
      readFileSync(join(ordersFolder, 'heard'), 'utf8')
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line))
        .filter((one) => one.method === method)
        .map((one) => one.params),
    order: (order: { do: string } & Record<string, unknown>) => {
      const name = join(ordersFolder, `${String(++orders).padStart(6, '0')}.json`);
      writeFileSync(`${name}.part`, JSON.stringify(order));
      // Whole or not at all.
      renameSync(`${name}.part`, name);
    },
  };
}
