/** The Linux machine of this host: everything that the extension does with it, without `vscode`. */
import { t } from '../../l10n.ts';
import { type ShownSession, shellWords } from '../place.ts';
import { look } from './bring-up.ts';
import { MultipassError } from './errors.ts';
import { launch, type Ready, reach, type Settings, type World } from './launch.ts';
import type { Report } from './launch-output.ts';
import * as operations from './operations.ts';
import type { Instance } from './outputs.ts';
import type { Program } from './runner.ts';
import type { Transport } from './transport.ts';
import { type Copied, copyIn } from './workspace/copy-in.ts';
import { nameFor, normalHost, toHost, toMachine } from './workspace/paths.ts';

/** What set-up links there; a newer one than ours is as good. */
const HELPER = '/usr/local/bin/teleport-env';

export class Machine {
  #transport: Transport | undefined;
  /** What brings the machine up at present: a view that connects and somebody who sets it up are one. */
  #underWay: Promise<Ready> | undefined;

  constructor(private readonly world: () => World) {}

  get settings(): Settings {
    return this.world().settings;
  }

  /** Null where there is none. */
  async state(signal?: AbortSignal): Promise<Instance | null> {
    const { runner, settings } = this.world();
    return await look({ runner, report: () => {}, signal }, settings.name);
  }

  async launch(report: Report, signal?: AbortSignal): Promise<Ready> {
    // What was under way may have been refused for want of what a launch makes.
    await this.#underWay?.catch(() => {});
    return await this.#alone(launch(this.world(), report, signal));
  }

  /** Runs, reachable, with a helper as new as we are. Short where nothing is missing. */
  async prepare(report: Report, signal?: AbortSignal): Promise<Ready> {
    return await (this.#underWay ?? this.#alone(reach(this.world(), report, signal)));
  }

  async #alone(work: Promise<Ready>): Promise<Ready> {
    this.#underWay = work;
    try {
      const ready = await work;
      this.#transport = ready.transport;
      return ready;
    } finally {
      if (this.#underWay === work) this.#underWay = undefined;
    }
  }

  /** After a lost connection: addresses change, and a machine may have been suspended meanwhile. */
  forgetWay(): void {
    this.#transport = undefined;
  }

  start = (signal?: AbortSignal): Promise<void> => this.#ours(operations.start, signal);
  stop = (signal?: AbortSignal): Promise<void> => this.#ours(operations.stop, signal);
  suspend = (signal?: AbortSignal): Promise<void> => this.#ours(operations.suspend, signal);

  /** With everything in it, for good. */
  async remove(signal?: AbortSignal): Promise<void> {
    await this.#ours(operations.remove, signal);
    const { storage, settings } = this.world();
    storage.forgetHost();
    storage.change(({ launched, transports, folders }) => {
      const { [settings.name]: _, ...others } = transports;
      return { launched: launched.filter((name) => name !== settings.name), transports: others, folders };
    });
  }

  /** The client process there. Before the first `prepare` it is the way that was remembered, or the usual one. */
  connectProgram(): Program {
    return this.#way().program([HELPER, 'connect']);
  }

  /** A program there that has our terminal. */
  terminalProgram(argv: readonly string[]): Program {
    return this.#way().program(argv, true);
  }

  shellProgram(session: ShownSession): Program {
    return this.terminalProgram([HELPER, ...shellWords(session)]);
  }

  /** The doctor's own words, from inside. */
  async doctor(signal?: AbortSignal): Promise<string> {
    const program = this.#way().program([HELPER, 'doctor']);
    const { stdout, stderr } = await this.world().run(program, { timeoutMs: 60_000, signal });
    return stdout || stderr;
  }

  /** Where a folder of this host is in the machine. One that isn't known gets a place. */
  toMachine(hostPath: string): string {
    const { storage, runner } = this.world();
    const known = toMachine(hostPath, storage.read().folders, runner.platform);
    if (known !== null) return known;
    const folder = normalHost(hostPath, runner.platform);
    storage.change((kept) => ({
      ...kept,
      folders: { ...kept.folders, [folder]: nameFor(folder, kept.folders, runner.platform) },
    }));
    return toMachine(hostPath, storage.read().folders, runner.platform)!;
  }

  /** Null where the path is not of this host. */
  toHost(machinePath: string): string | null {
    const { storage, runner } = this.world();
    return toHost(machinePath, storage.read().folders, runner.platform);
  }

  async copyIn(
    folder: string,
    to: string,
    exclude: ReadonlySet<string>,
    onProgress: (bytes: number) => void,
    signal?: AbortSignal,
  ): Promise<Copied> {
    const { run } = this.world();
    return await copyIn({ transport: this.#way(), run, signal }, { folder, to, exclude, onProgress });
  }

  /** Acts on our own instance only. */
  async #ours(operation: (name: string) => operations.Operation<void>, signal?: AbortSignal): Promise<void> {
    const { runner, settings, storage } = this.world();
    if (!storage.read().launched.includes(settings.name)) {
      const found = await this.prepare(() => {}, signal);
      storage.change((kept) => ({ ...kept, launched: [...kept.launched, found.instance.name] }));
    }
    this.forgetWay();
    await runner.run(operation(settings.name), { signal, machine: settings.name });
  }

  #way(): Transport {
    if (this.#transport) return this.#transport;
    throw new MultipassError(
      'unreachable',
      t('The machine is not connected.'),
      t('Connect first: Teleport Env: Reconnect.'),
    );
  }
}
