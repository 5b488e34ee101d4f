/** An agent's configuration and sign-in on this side: what there is of it, and its contents. With the user's rights. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Agent } from '../../protocol/agents.ts';
import { isSecret } from './plan.ts';

/** Larger ones are no configuration. Bytes. */
const LARGEST = 1 << 20;
const MOST_FILES = 200;

export interface SignIn {
  /** Below the home. */
  files: string[];
  /** Names of variables with secrets that are set. */
  variables: string[];
}

export function signInOf(agent: Agent, home: string, env: NodeJS.ProcessEnv): SignIn {
  const files = agent.config.flatMap((path) => filesAt(home, path)).slice(0, MOST_FILES);
  const variables = agent.variables.filter((name) => isSecret(name) && env[name] !== undefined);
  return { files, variables };
}

function filesAt(home: string, path: string): string[] {
  try {
    const stat = statSync(join(home, path));
    if (stat.isFile()) return stat.size <= LARGEST ? [path] : [];
    if (!stat.isDirectory()) return [];
    const names = readdirSync(join(home, path), { withFileTypes: true });
    return names
      .filter((one) => one.isFile() || one.isDirectory())
      .flatMap(({ name }) => filesAt(home, `${path}/${name}`));
  } catch {
    return []; // there is none, or not for us
  }
}

export function readSignIn(home: string, path: string): Buffer {
  return readFileSync(join(home, path));
}
