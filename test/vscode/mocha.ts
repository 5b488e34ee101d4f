// Mocha inside the real extension host. VS Code runs a module of ours there if the window is one for extension tests,
// and a web window is that only with its smoke test driver on. The driver also holds back notifications and dialogs, so
// it is switched on for this window alone, by changing the page on its way, and not for the server.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { format } from 'node:util';
import { repository } from './paths.ts';
import type { Page } from './playwright.ts';

export interface HostRun {
  code: number;
  output: string;
}

interface Job {
  url: string;
  folder: string;
  base: string;
  testsPath: string;
  timeout?: number;
}

type Listener = { log(type: string, values: unknown[]): void; exit(code: number): void };
const listeners = new WeakMap<Page, { current?: Listener }>();

export async function runMocha(page: Page, job: Job): Promise<HostRun> {
  const { development, tests } = writeModules(job);
  const host = new URL(job.url).host;
  const remote = (path: string) => `vscode-remote://${host}${path}`;
  const payload = JSON.stringify([
    ['extensionDevelopmentPath', remote(development)],
    ['extensionTestsPath', remote(tests)],
  ]);
  const listener = await listen(page);
  const document = (url: URL) => url.host === host && url.pathname === '/';
  await page.route(document, async (route) => {
    const response = await route.fetch();
    const body = (await response.text()).replace(
      /(&quot;|")developmentOptions\1:\{/,
      (found, quote) => `${found}${quote}enableSmokeTestDriver${quote}:true,`,
    );
    await route.fulfill({ response, body });
  });
  let output = '';
  let timer: NodeJS.Timeout | undefined;
  try {
    const code = new Promise<number>((resolve, reject) => {
      const milliseconds = job.timeout ?? 120_000;
      timer = setTimeout(
        () => reject(new Error(`no end after ${milliseconds / 1000} s. Output:\n${output}`)),
        milliseconds,
      );
      listener.current = {
        log: (_type, values) => {
          output += `${format(...values)}\n`;
        },
        exit: resolve,
      };
    });
    code.catch(() => {}); // reported below, after the page has opened
    const query = `folder=${encodeURIComponent(job.folder)}&payload=${encodeURIComponent(payload)}`;
    await page.goto(`${job.url}/?${query}`);
    return { code: await code, output };
  } finally {
    clearTimeout(timer);
    delete listener.current;
    await page.unroute(document);
  }
}

/** Functions that VS Code calls on the window of a test; a page can be given them once. */
async function listen(page: Page): Promise<{ current?: Listener }> {
  const known = listeners.get(page);
  if (known) return known;
  const listener: { current?: Listener } = {};
  listeners.set(page, listener);
  await page.exposeFunction('codeAutomationLog', (type: string, values: unknown[]) =>
    listener.current?.log(type, values),
  );
  await page.exposeFunction('codeAutomationExit', (code: number) => listener.current?.exit(code));
  return listener;
}

function writeModules(job: Job): { development: string; tests: string } {
  const development = join(job.base, 'tests-of-an-installed-extension');
  mkdirSync(development, { recursive: true });
  const manifest = { name: 'tests', publisher: 'tests', version: '0.0.0', engines: { vscode: '*' } };
  writeFileSync(join(development, 'package.json'), JSON.stringify(manifest));
  const tests = join(development, 'run.js');
  const here = JSON.stringify(join(repository, 'package.json'));
  const runner = JSON.stringify(join(__dirname, 'mocha-in-host.ts'));
  writeFileSync(
    tests,
    `const load = module.constructor.createRequire(${here})
load('tsx/cjs')
exports.run = () => load(${runner}).run(${JSON.stringify(job.testsPath)})
`,
  );
  return { development, tests };
}
