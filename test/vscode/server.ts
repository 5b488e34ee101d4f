// code-server in folders of its own: nothing of the user's VS Code, home or running windows is touched.

import { execFile, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { codeServer, serverNode } from './paths.ts';
import { killMarked } from './processes.ts';

export interface Folders {
  base: string;
  userData: string;
  extensions: string;
  /** Folders are not trusted until somebody says so. */
  trust: boolean;
  language?: string | undefined;
}

/** Every process of an editor inherits this variable, which is how they are found again when it closes. */
export const MARK = 'TELEPORT_ENV_TEST_EDITOR';

/** The environment of the server, and so of its extension hosts and terminals. */
export function serverEnvironment(folders: Folders, extra: Record<string, string>): Record<string, string> {
  const inherited = Object.entries(process.env).filter(
    // What npm, another VS Code or tsx put in would reach the extension host and change how it runs.
    ([name, value]) => value !== undefined && !/^(npm_|VSCODE_|NODE_|ELECTRON_|TSX_|XDG_|MOCHA_)/.test(name),
  ) as [string, string][];
  const own: Record<string, string> = { [MARK]: folders.base, EXTENSIONS_GALLERY: '{}' };
  const places = { HOME: 'home', XDG_CONFIG_HOME: 'config', XDG_DATA_HOME: 'data', XDG_CACHE_HOME: 'cache' };
  for (const [name, folder] of Object.entries({ ...places, XDG_STATE_HOME: 'state', XDG_RUNTIME_DIR: 'run' })) {
    own[name] = join(folders.base, folder);
    mkdirSync(own[name], { recursive: true, mode: 0o700 });
  }
  return { ...Object.fromEntries(inherited), ...own, ...extra };
}

function commonArguments(folders: Folders): string[] {
  const config = join(folders.base, 'code-server.yaml');
  if (!existsSync(config)) {
    // Port 0: the system picks a free one, so parallel runs can't collide.
    const lines = ['bind-addr: 127.0.0.1:0', 'auth: none', 'disable-telemetry: true'];
    if (!folders.trust) lines.push('disable-workspace-trust: true');
    writeFileSync(config, [...lines, 'disable-update-check: true', ''].join('\n'));
  }
  const { userData, extensions, language } = folders;
  const own = ['--config', config, '--user-data-dir', userData, '--extensions-dir', extensions];
  return [codeServer, ...own, ...(language ? ['--locale', language] : [])];
}

/** A language pack, as it is when it is installed; this one has no text, and English stands in for each. */
export function addLanguage(language: string, { extensions, userData }: Folders): void {
  const [publisher, name, version] = ['teleport-env-tests', `texts-${language}`, '1.0.0'];
  const folder = join(extensions, `${publisher}.${name}-${version}`);
  const texts = join(folder, 'texts.json');
  const translations = [{ id: 'vscode', path: './texts.json' }];
  const localizations = [
    { languageId: language, languageName: language, localizedLanguageName: language, translations },
  ];
  const manifest = { publisher, name, version, engines: { vscode: '^1.100.0' }, contributes: { localizations } };
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), JSON.stringify(manifest));
  writeFileSync(texts, JSON.stringify({ version, contents: {} }));
  const packed = [{ extensionIdentifier: { id: `${publisher}.${name}` }, version }];
  const pack = { hash: 'one', extensions: packed, translations: { vscode: texts }, label: language };
  mkdirSync(userData, { recursive: true });
  writeFileSync(join(userData, 'languagepacks.json'), JSON.stringify({ [language]: pack }));
}

export async function installVsix(file: string, folders: Folders, env: Record<string, string>): Promise<void> {
  const { stdout, stderr } = await promisify(execFile)(
    serverNode,
    [...commonArguments(folders), '--install-extension', file, '--force'],
    { env, cwd: folders.base, timeout: 60_000 },
  );
  if (!/successfully installed/.test(stdout)) throw new Error(`${file} was not installed:\n${stdout}${stderr}`);
}

export class Server {
  private output = '';
  private constructor(private readonly folders: Folders) {}

  static async start(folders: Folders, env: Record<string, string>): Promise<{ server: Server; url: string }> {
    const child = spawn(serverNode, [...commonArguments(folders), '--reconnection-grace-time', '1'], {
      env,
      cwd: folders.base,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const server = new Server(folders);
    let timer: NodeJS.Timeout | undefined;
    const url = await new Promise<string>((resolve, reject) => {
      timer = setTimeout(() => reject(new Error(`code-server was not ready in 30 s:\n${server.output}`)), 30_000);
      const read = (chunk: Buffer) => {
        server.output = (server.output + chunk.toString()).slice(-200_000);
        const found = /listening on (http:\/\/127\.0\.0\.1:\d+)/.exec(server.output);
        if (found?.[1]) resolve(found[1]);
      };
      child.stdout?.on('data', read);
      child.stderr?.on('data', read);
      child.once('error', reject);
      child.once('exit', (code) => reject(new Error(`code-server ended with ${code}:\n${server.output}`)));
    }).finally(() => clearTimeout(timer));
    return { server, url };
  }

  /** The server's output and every log of the newest extension host, by name. */
  logs(): Map<string, string> {
    const logs = new Map([['code-server', this.output]]);
    const root = join(this.folders.userData, 'logs');
    if (!existsSync(root)) return logs;
    for (const name of (readdirSync(root, { recursive: true }) as string[]).sort()) {
      if (name.endsWith('.log')) logs.set(name, readFileSync(join(root, name), 'utf8'));
    }
    return logs;
  }

  async stop(): Promise<void> {
    await killMarked(`${MARK}=${this.folders.base}`);
  }
}
