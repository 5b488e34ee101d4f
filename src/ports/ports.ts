import { commands, Disposable, env, Uri } from 'vscode';
import type { App, Feature } from '../app.ts';
import { HelperError } from '../connection/errors.ts';
import { COMMANDS } from '../ids.ts';
import { t } from '../l10n.ts';
import { register } from '../register.ts';
import { pickPort, targetSandbox } from '../targets.ts';
import { Forward } from './forward.ts';

/** What listens in a sandbox, on this machine's loopback when somebody wants to see it. */
export const ports: Feature = (app) => {
  const open = new Map<string, Promise<Forward>>();
  const drop = (key: string) => {
    const forward = open.get(key);
    open.delete(key);
    void forward?.then((one) => one.dispose());
  };
  const forwarded = async (argument: unknown): Promise<number | undefined> => {
    const inside = await target(app, argument);
    if (!inside) return undefined;
    const key = `${inside.sandbox}/${inside.port}`;
    const forward = open.get(key) ?? Forward.open(app.helper, inside);
    open.set(key, forward);
    forward.catch(() => open.delete(key));
    const { local } = await forward;
    app.details.setForward(inside.sandbox, inside.port, local);
    return local;
  };
  const address = async (argument: unknown): Promise<Uri | undefined> => {
    const local = await forwarded(argument);
    return local === undefined ? undefined : env.asExternalUri(Uri.parse(`http://localhost:${local}`));
  };
  return Disposable.from(
    app.helper.onNotification('sandbox/removed', ({ sandbox }) => {
      for (const key of [...open.keys()]) if (key.startsWith(`${sandbox}/`)) drop(key);
    }),
    { dispose: () => [...open.keys()].forEach(drop) },
    register(app, {
      [COMMANDS.openPort]: async (argument) => {
        const uri = await address(argument);
        if (uri) await env.openExternal(uri);
      },
      [COMMANDS.previewPort]: async (argument) => {
        const uri = await address(argument);
        if (uri) await commands.executeCommand('simpleBrowser.show', uri.toString(true));
      },
      // Its answer stands for the number in a launch configuration: as an input with `args: { port }`, or as ${command:…}.
      [COMMANDS.forwardPort]: async (argument) => {
        const local = await forwarded(argument);
        return local === undefined ? undefined : String(local);
      },
    }),
  );
};

async function target(app: App, argument: unknown): Promise<{ sandbox: string; port: number } | undefined> {
  const given = Number((argument as { port?: unknown } | undefined)?.port);
  const sandbox = await targetSandbox(app, argument);
  if (!sandbox) return undefined;
  if (given > 0) return { sandbox: sandbox.id, port: given };
  const { ports: found } = await app.helper.ask('port/list', { sandbox: sandbox.id });
  if (found.length === 0)
    throw new HelperError(
      'nothingListens',
      t('Nothing in {0} listens on a port.', sandbox.name),
      t('Start a server in it.'),
    );
  const port = await pickPort(found);
  return port === undefined ? undefined : { sandbox: sandbox.id, port };
}
