/** From an instance in whatever state to one that runs and has an address. */
import { setTimeout as sleep } from 'node:timers/promises';
import { t } from '../../l10n.ts';
import { MultipassError } from './errors.ts';
import type { Report } from './launch-output.ts';
import * as operations from './operations.ts';
import type { Instance } from './outputs.ts';
import { moveFor, moveWords } from './plan.ts';
import type { Runner } from './runner.ts';

export interface BringUp {
  readonly runner: Runner;
  readonly report: Report;
  readonly signal?: AbortSignal;
  /** For tests. */
  readonly pollMs?: number;
}

const POLL_MS = 2_000;
/** How long a machine may be on its way somewhere, or without an address. */
const PATIENCE_MS = 5 * 60_000;

/** Null where there is none of that name. */
export async function look({ runner, signal }: BringUp, name: string): Promise<Instance | null> {
  try {
    return await runner.run(operations.info(name), { signal, machine: name });
  } catch (error) {
    if (!(error instanceof MultipassError)) throw error;
    if (error.code === 'noInstance') return null;
    if (error.code !== 'instanceDeleted' && error.code !== 'unexpectedOutput' && error.code !== 'hanging') throw error;
    // The shorter answer, which is enough to go on.
    const all = await runner.run(operations.list(), { signal, machine: name });
    return all.find((instance) => instance.name === name) ?? null;
  }
}

/**
 * Starts, wakes or recovers it as needed, and waits until it runs. Comes back at once where it does.
 * @throws MultipassError `noInstance`, `hanging` (it stays on its way), or what starting failed with
 */
export async function bringUp(world: BringUp, name: string): Promise<Instance> {
  const { runner, report, signal, pollMs = POLL_MS } = world;
  let deadline = Date.now() + PATIENCE_MS;
  for (let waits = 0; ; waits++) {
    const instance = await look(world, name);
    if (!instance)
      throw new MultipassError(
        'noInstance',
        t('There is no machine {0}.', name),
        t('Set it up: Teleport Env: Set up Linux machine.'),
      );
    const move = moveFor(instance.state);
    if (move === 'none' && instance.addresses.length > 0) return instance;
    report({ stage: 'boot', message: moveWords(instance) });
    if (move === 'start' || move === 'recover') {
      const operation = move === 'start' ? operations.start(name) : operations.recover(name);
      try {
        await runner.run(operation, { signal, machine: name });
      } catch (error) {
        // It may come up all the same: go on looking.
        if (!(error instanceof MultipassError) || !['launchTimeout', 'initTimeout', 'hanging'].includes(error.code))
          throw error;
      }
      // Each start may happen once; a machine that falls back to stopped is told of by the deadline.
      deadline = Math.min(deadline, Date.now() + PATIENCE_MS);
    }
    if (Date.now() > deadline)
      throw new MultipassError(
        'hanging',
        t('The machine {0} stays in the state “{1}”.', name, instance.state),
        t('Look at it in a terminal: multipass info {0}. Stopping it by force helps: multipass stop --force {0}', name),
      );
    await sleep(move === 'none' ? Math.min(pollMs, 500) : waits === 0 ? Math.min(pollMs, 200) : pollMs, undefined, {
      signal,
    });
  }
}
