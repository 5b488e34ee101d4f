import { commands, Disposable, env, Uri, window } from 'vscode';
import type { Sandbox } from '../../helper/protocol/model.ts';
import type { App, Feature } from '../app.ts';
import { HelperError } from '../connection/errors.ts';
import { COMMANDS } from '../ids.ts';
import { t } from '../l10n.ts';
import { register } from '../register.ts';
import { field, targetSandbox } from '../targets.ts';
import { Forward } from './forward.ts';
import { forwardKey, type Inside } from './inside.ts';

/** What listens in a sandbox, on this machine's loopback when somebody wants to see it. */
export const ports: Feature = (app) => {
  const open = new Map<string, { readonly inside: Inside; readonly forward: Promise<Forward> }>();
  const drop = (gone: (inside: Inside) => boolean) => {
    for (const [key, { inside, forward }] of open) {
      if (!gone(inside)) continue;
      open.delete(key);
      app.details.setForward(inside, undefined);
      forward.then(
        (one) => one.dispose(),
        () => {},
      );
    }
  };
  const forwarded = async (argument: unknown): Promise<number | undefined> => {
    const inside = await target(app, argument);
    if (!inside) return undefined;
    const key = forwardKey(inside);
    const forward = open.get(key)?.forward ?? Forward.open(app.helper, inside);
    open.set(key, { inside, forward });
    forward.catch(() => open.delete(key));
    const { local } = await forward;
    app.details.setForward(inside, local);
    return local;
  };
  const address = async (argument: unknown): Promise<Uri | undefined> => {
    const local = await forwarded(argument);
    return local === undefined ? undefined : env.asExternalUri(Uri.parse(`http://localhost:${local}`));
  };
  return Disposable.from(
    app.helper.onNotification('sandbox/removed', ({ sandbox }) => drop((inside) => inside.sandbox === sandbox)),
    // A fork's port is the fork's, and goes with it.
    app.helper.onNotification('sandbox/changed', ({ sandbox: { id, branches } }) =>
      drop(({ sandbox, branch }) => sandbox === id && branch !== undefined && !branches.some((b) => b.id === branch)),
    ),
    { dispose: () => drop(() => true) },
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

async function target(app: App, argument: unknown): Promise<Inside | undefined> {
  const given = Number((argument as { port?: unknown } | undefined)?.port);
  const sandbox = await targetSandbox(app, argument);
  if (!sandbox) return undefined;
  const asked = (branch: string | undefined) => (branch === sandbox.head ? undefined : branch);
  const branch = field(argument, 'branch');
  if (given > 0) return { sandbox: sandbox.id, branch: asked(branch), port: given };
  const found = await listeners(app, sandbox, branch);
  if (found.length === 0)
    throw new HelperError(
      'nothingListens',
      t('Nothing in {0} listens on a port.', sandbox.name),
      t('Start a server in it.'),
    );
  const chosen = found.length === 1 ? found[0] : await window.showQuickPick(found, { placeHolder: t('Which port?') });
  return chosen && { sandbox: sandbox.id, branch: asked(chosen.branch), port: chosen.port };
}

/** In that branch, or in all that live. */
async function listeners({ helper }: App, sandbox: Sandbox, only: string | undefined) {
  const live = sandbox.branches.filter(({ id, role }) => (only === undefined ? role !== 'standby' : id === only));
  const all = await Promise.all(
    live.map(async ({ id, role }) => {
      const { ports } = await helper.ask('port/list', { sandbox: sandbox.id, branch: id });
      const where = role === 'fork' ? t('live fork {0}', id) : '';
      return ports.map(({ port, command }) => {
        const description = [where, command].filter(Boolean).join(' · ');
        return { label: String(port), description, port, branch: id };
      });
    }),
  );
  return all.flat();
}
