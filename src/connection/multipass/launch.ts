/**
 * From nothing to a machine that is ready, or from whatever there is: every stage looks first and does only what is
 * missing. Done again after a failure or a cancellation, it goes on where it was.
 */
import { t } from '../../l10n.ts';
import { type BringUp, bringUp, look } from './bring-up.ts';
import { MultipassError, notOurs } from './errors.ts';
import { launchOutput, type Report } from './launch-output.ts';
import * as operations from './operations.ts';
import type { Instance } from './outputs.ts';
import type { Payload } from './payload.ts';
import { checkRoom, checkVersion, type Host } from './plan.ts';
import { initialized, lookInside, provision, type RunProgram } from './provision.ts';
import type { Runner } from './runner.ts';
import type { Storage } from './storage.ts';
import { chooseTransport, execTransport, order, sshTransport, type Transport } from './transport.ts';

export interface Settings extends operations.Size {
  readonly name: string;
  readonly image: string;
  /** Where Multipass does not know that one, and nobody asked for it by name. */
  readonly otherImage?: string;
}

export interface World {
  readonly runner: Runner;
  readonly run: RunProgram;
  readonly storage: Storage;
  readonly host: Host;
  readonly settings: Settings;
  readonly payload: () => Payload;
  /** Another ssh than the one on PATH. */
  readonly ssh?: string;
  /** For tests. */
  readonly pollMs?: number;
}

export interface Ready {
  readonly instance: Instance;
  readonly transport: Transport;
  /** The helper was installed or updated. */
  readonly provisioned: boolean;
}

/** Multipass is there, new enough, and its daemon answers. @throws MultipassError */
export async function checkMultipass({ runner }: World, report: Report, signal?: AbortSignal): Promise<void> {
  report({ stage: 'find', message: t('Looking for Multipass') });
  const found = await runner.run(operations.version(), { signal });
  checkVersion(found, runner.platform);
  // Its version is told with exit 0 also where the daemon is down: any other question brings the reason out.
  if (found.daemon === null) await runner.run(operations.list(), { signal });
}

/** Makes the machine where there is none, mends the one that is there, and provisions it. */
export async function launch(world: World, report: Report, signal?: AbortSignal): Promise<Ready> {
  const { runner, settings } = world;
  const up: BringUp = { runner, report, signal, pollMs: world.pollMs };
  await checkMultipass(world, report, signal);
  report({ stage: 'check', message: t('Looking for the machine {0}', settings.name) });
  const found = await look(up, settings.name);
  if (found) refuseOthersAtRest(world, found);
  else await make(world, report, signal);
  return await reach(world, report, signal, found !== null);
}

/** From a machine that exists to a way in, with a helper that is as new as we are. */
export async function reach(world: World, report: Report, signal?: AbortSignal, check = true): Promise<Ready> {
  const { runner, run, storage, settings } = world;
  const { name } = settings;
  const instance = await bringUp({ runner, report, signal, pollMs: world.pollMs }, name);
  report({ stage: 'reach', message: t('Connecting to {0}', name) });
  const transport = await wayIn(world, instance, report, signal);
  const way = { transport, run, signal };
  const mine = storage.read().launched.includes(name);
  const first = await lookInside(way);
  if (check && !mine && !first.ours) throw notOurs(instance);
  const inside = first.initialized ? first : await initialized(way, report, world.pollMs);
  return { instance, transport, provisioned: await provision(way, inside, world.payload(), report) };
}

async function make(world: World, report: Report, signal?: AbortSignal): Promise<void> {
  const { runner, settings, storage, host } = world;
  checkRoom(host, settings);
  const cloudInit = world.payload().cloudInit(storage.publicKey());
  storage.forgetHost();
  // Before it is asked for: a launch that is cut short may come to its end all the same, and then it is ours.
  storage.change((kept) => ({ ...kept, launched: [...new Set([...kept.launched, settings.name])] }));
  const of = (image: string) =>
    runner.run(operations.launch({ ...settings, image, cloudInit }), {
      signal,
      onOutput: launchOutput(image, report),
      machine: settings.name,
    });
  const { image, otherImage } = settings;
  try {
    await of(image).catch(async (error) => {
      if (!(error instanceof MultipassError) || error.code !== 'unknownImage' || otherImage === undefined) throw error;
      report({ stage: 'image', message: t('Multipass does not know Ubuntu {0} yet: taking {1}', image, otherImage) });
      await of(otherImage);
    });
  } catch (error) {
    if (!(error instanceof MultipassError)) throw error;
    // The machine is often usable, or becomes so: look for it and go on.
    const mayCome = ['initTimeout', 'launchTimeout', 'hanging'].includes(error.code);
    if (!mayCome || !(await look({ runner, report, signal }, settings.name))) {
      if (!mayCome && error.code !== 'cancelled') await forget(world);
      throw error;
    }
  }
}

/** A launch that failed for good left nothing that would be ours. */
async function forget({ runner, settings, storage }: World): Promise<void> {
  const left = await look({ runner, report: () => {} }, settings.name).catch(() => undefined);
  if (left === null)
    storage.change((kept) => ({ ...kept, launched: kept.launched.filter((name) => name !== settings.name) }));
}

/** To look inside, it would have to be started: one that is at rest is taken for ours only if we remember it. */
function refuseOthersAtRest({ storage }: World, found: Instance): void {
  if (found.state !== 'Running' && !storage.read().launched.includes(found.name)) throw notOurs(found);
}

async function wayIn(world: World, instance: Instance, report: Report, signal?: AbortSignal): Promise<Transport> {
  const { runner, run, storage, ssh } = world;
  const { name, addresses } = instance;
  const { keyFile, knownHosts } = storage;
  const candidates = order(runner.platform, storage.read().transports[name]).map((kind) =>
    kind === 'exec'
      ? execTransport(runner.command, name)
      : sshTransport({ name, address: addresses[0]!, keyFile, knownHosts, ...(ssh === undefined ? {} : { ssh }) }),
  );
  storage.publicKey();
  const transport = await chooseTransport(candidates, run, name, signal);
  if (storage.read().transports[name] !== transport.kind)
    storage.change((kept) => ({ ...kept, transports: { ...kept.transports, [name]: transport.kind } }));
  report({ stage: 'reach', message: transport.kind === 'ssh' ? t('Connected over ssh') : t('Connected') });
  return transport;
}
