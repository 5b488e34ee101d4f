// A failing step says what VS Code looked like and what its logs said, since by the time somebody reads the failure
// the window is gone.

import { join } from 'node:path';
import { repository } from './paths.ts';
import type { Page } from './playwright.ts';

interface Sources {
  page: Page;
  logs(): Map<string, string>;
  console: string[];
}

type Actions = Record<string, (...values: never[]) => Promise<unknown>>;

/** The same functions, whose failures carry a screenshot's path and the tails of the logs. */
export function explaining<A extends Actions>(actions: A, sources: Sources): A {
  const wrapped = Object.entries(actions).map(([name, run]) => [
    name,
    async (...values: never[]) => {
      try {
        return await run(...values);
      } catch (error) {
        throw await explained(name, values, error, sources);
      }
    },
  ]);
  return Object.fromEntries(wrapped) as A;
}

async function explained(name: string, values: unknown[], cause: unknown, sources: Sources): Promise<Error> {
  const reason = cause instanceof Error ? cause.message : String(cause);
  const shown = values.map((value) => (value instanceof RegExp ? String(value) : JSON.stringify(value))).join(', ');
  const picture = join(repository, 'build', 'failures', `${name}-${process.pid}-${Date.now()}.png`);
  const taken = await sources.page.screenshot({ path: picture }).then(
    () => `\n\nThe window then: ${picture}`,
    () => '',
  );
  const parts = [`${name}(${shown}): ${reason}${taken}`, ...tails(sources.logs())];
  if (sources.console.length > 0) parts.push(section('the window’s console', sources.console.slice(-10).join('\n')));
  return new Error(parts.join('\n\n'), { cause });
}

/** The server, the newest extension host, and what extensions that do not come with VS Code wrote. */
export function tails(logs: Map<string, string>): string[] {
  const hosts = [...logs.keys()].filter((name) => name.endsWith('remoteexthost.log')).sort(byNumber);
  const newest = hosts.at(-1)?.replace(/remoteexthost\.log$/, '');
  return [...logs]
    .filter(([name, text]) => {
      if (name === 'code-server') return true;
      return text !== '' && newest !== undefined && name.startsWith(newest) && !/\/(vscode|ms-vscode)\./.test(name);
    })
    .map(([name, text]) =>
      section(
        name,
        text
          .trimEnd()
          .split('\n')
          .filter((line) => !noise.test(line))
          .slice(-15)
          .join('\n'),
      ),
    );
}

const byNumber = (a: string, b: string) => a.localeCompare(b, 'en', { numeric: true });

function section(name: string, text: string): string {
  return `--- ${name}\n${text}`;
}

/** What every window of code-server says: a signing module that only Microsoft's builds have, and its own iframes. */
const noise = /vsda|Failed to load resource|same-origin iframe|allow-scripts and allow-same-origin/;

/** Keeps the last 200. */
export function appendTail(messages: string[], text: string): void {
  if (noise.test(text)) return;
  messages.push(text.slice(0, 500));
  if (messages.length > 200) messages.shift();
}
