/** Who commits made in a sandbox are by: the user's own name and address, as git has them for that folder. Nothing else of its settings. */
import { runGit } from './run-git.ts';

export interface Identity {
  name?: string;
  email?: string;
}

/** Empty where git does not know, or is not there. */
export async function identityOf(folder: string, env: NodeJS.ProcessEnv, signal?: AbortSignal): Promise<Identity> {
  const [name, email] = await Promise.all(
    ['user.name', 'user.email'].map((key) => settingOf(key, folder, env, signal)),
  );
  return { ...(name ? { name } : {}), ...(email ? { email } : {}) };
}

async function settingOf(key: string, cwd: string, env: NodeJS.ProcessEnv, signal?: AbortSignal) {
  try {
    const { code, stdout } = await runGit(['config', '--get', '--null', key], { cwd, env, signal });
    return code === 0 ? fitting(stdout.replace(/\0[\s\S]*$/, '')) : undefined;
  } catch {
    return undefined; // no git, or no such folder: whoever makes a sandbox of it says so
  }
}

/** Git refuses names of nothing but such characters, and would cut them out of others. */
function fitting(value: string): string | undefined {
  return (
    value
      .replace(/[\x00-\x1f\x7f<>]/g, '')
      .trim()
      .slice(0, 255) || undefined
  );
}
