/**
 * What can be asked of the `multipass` command: arguments out, parser in. Nothing here runs anything.
 *
 * Every operation names the one instance that it is about: there is none that could touch another.
 */
import * as z from 'zod';
import { Info, type Instance, instanceOf, List, Version } from './outputs.ts';

export interface Operation<T> {
  /** For messages and logs: `launch`, `info`. */
  readonly name: string;
  readonly args: readonly string[];
  readonly stdin?: string;
  /** Given up after that. The output of some versions hangs, so nothing is waited for without an end. */
  readonly timeoutMs: number;
  /** @throws where the output isn't what it should be. */
  parse(stdout: string): T;
}

export interface Size {
  readonly cpus: number;
  /** In MiB. */
  readonly memory: number;
  /** In GiB. */
  readonly disk: number;
}

export interface LaunchSettings extends Size {
  readonly name: string;
  readonly image: string;
  /** The text of the cloud-init document. On stdin: as a snap, multipass reads only files under the user's home. */
  readonly cloudInit: string;
}

const QUICK_MS = 20_000;
const MINUTE = 60_000;
/** How long multipass itself is to wait for the machine, in seconds. The image may have to come over a slow line. */
export const LAUNCH_SECONDS = 1800;
const START_SECONDS = 300;

/** A daemon that is down leaves `multipassd` out and still exits with 0. */
export function version(): Operation<{ client: string; daemon: string | null }> {
  return {
    name: 'version',
    args: ['version', '--format', 'json'],
    timeoutMs: QUICK_MS,
    parse: (stdout) => {
      const { multipass, multipassd } = Version.parse(JSON.parse(stdout));
      return { client: multipass, daemon: multipassd ?? null };
    },
  };
}

/** All instances, with less about each than `info` tells. */
export function list(): Operation<Instance[]> {
  return {
    name: 'list',
    args: ['list', '--format', 'json'],
    timeoutMs: QUICK_MS,
    parse: (stdout) => List.parse(JSON.parse(stdout)).list.map(instanceOf),
  };
}

export function info(name: string): Operation<Instance> {
  return {
    name: 'info',
    args: ['info', named(name), '--format', 'json'],
    timeoutMs: QUICK_MS,
    parse: (stdout) => {
      const found = Info.parse(JSON.parse(stdout)).info[name];
      if (!found) throw new Error(`it says nothing of ${name}`);
      return instanceOf({ ...found, name });
    },
  };
}

export function launch({ name, image, cpus, memory, disk, cloudInit }: LaunchSettings): Operation<void> {
  const size = ['--cpus', String(cpus), '--memory', `${memory}M`, '--disk', `${disk}G`];
  return {
    name: 'launch',
    args: ['launch', image, '--name', named(name), ...size, '--timeout', String(LAUNCH_SECONDS), '--cloud-init', '-'],
    stdin: cloudInit,
    timeoutMs: LAUNCH_SECONDS * 1000 + MINUTE,
    parse: () => {},
  };
}

export function start(name: string): Operation<void> {
  return {
    name: 'start',
    args: ['start', named(name), '--timeout', String(START_SECONDS)],
    timeoutMs: START_SECONDS * 1000 + MINUTE,
    parse: () => {},
  };
}

const life = (verb: string, name: string, ...options: string[]): Operation<void> => ({
  name: verb,
  args: [verb, named(name), ...options],
  timeoutMs: 2 * MINUTE,
  parse: () => {},
});

export const stop = (name: string): Operation<void> => life('stop', name);
export const suspend = (name: string): Operation<void> => life('suspend', name);
/** Back from multipass's trash, with all that was in it. */
export const recover = (name: string): Operation<void> => life('recover', name);
/** For good. `--purge` after a name removes that instance alone; the separate `purge` command would empty the trash of others. */
export const remove = (name: string): Operation<void> => life('delete', name, '--purge');

/**
 * Arguments that run a program inside, `-n` always: without it a current folder inside a mount has its arguments joined
 * unquoted. What runs must never exit with 4 (see guest.ts).
 */
export function exec(name: string, argv: readonly string[]): string[] {
  return ['exec', '-n', named(name), '--', ...argv];
}

/** What multipass itself takes for a name. Anything else could be read as an option. */
export const MachineName = z
  .string()
  .regex(/^[A-Za-z][A-Za-z0-9-]{0,61}[A-Za-z0-9]$/, 'a machine’s name has letters, digits and hyphens');

function named(name: string): string {
  return MachineName.parse(name);
}
