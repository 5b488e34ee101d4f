/** Makes a checkpoint of a live branch: a transaction, whose failure leaves the branch as it was and nothing of the checkpoint. */

import { existsSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { capture, captureFiles, undoRotation } from '../engine/capture.ts';
import { inSlices } from '../engine/diff.ts';
import { faultPoint } from '../engine/fault.ts';
import { completeHardLinks } from '../engine/hard-links.ts';
import { filesOf } from '../engine/image-files.ts';
import type { CheckpointLayout } from '../engine/layout.ts';
import { rotationDone } from '../engine/rotation.ts';
import { LayerStack } from '../engine/stack.ts';
import { round, type Steps } from '../engine/steps.ts';
import { removeTree } from '../engine/trees.ts';
import { TeleportError } from '../protocol/errors.ts';
import { shellWord } from '../protocol/shell-word.ts';
import type { Manifest } from '../sandbox/records.ts';
import type { Branch } from './branch.ts';
import type { Branches } from './branches.ts';
import { type Catalogue, toCheckpoint, type Words } from './catalogue.ts';
import type { SandboxState } from './sandbox-state.ts';
import { writeRecord } from './store.ts';

/** So long PID 1 may take to answer after a capture, on the busiest of machines. */
const ANSWER_MS = 30_000;

export class Checkpointer {
  private readonly state: SandboxState;
  private readonly catalogue: Catalogue;
  private readonly branches: Branches;

  constructor(state: SandboxState, catalogue: Catalogue, branches: Branches) {
    this.state = state;
    this.catalogue = catalogue;
    this.branches = branches;
  }

  /** What is saved so that nothing is lost may go beyond: it is what frees people from a sandbox that is full. */
  private checkDisk(kind: Words['kind']): void {
    const { disk } = this.state.limits;
    if (disk === null || kind === 'saved') return;
    const used = [...this.catalogue.tree.values()].reduce((sum, manifest) => sum + manifest.bytes, 0);
    if (used < disk) return;
    throw new TeleportError(
      'limitReached',
      `the checkpoints of ${this.state.record.name} take ${used} bytes, more than the ${disk} that they may`,
      { hint: `teleport-env gc ${shellWord(this.state.record.name)} --keep 10 deletes some` },
    );
  }

  /**
   * A checkpoint of a live branch. Where its layer was rotated the branch is replaced by a successor, unless `leaving`: then it
   * stays frozen, to be retired or taken back (`takeBack`).
   */
  async take(
    branch: Branch,
    words: Words,
    steps: Steps,
    leaving = false,
  ): Promise<{ manifest: Manifest; branch: Branch; takeBack: () => Promise<void> }> {
    const { machine } = this.state.around;
    this.checkDisk(words.kind);
    const id = `k${this.state.number('checkpoint')}`;
    const place = this.state.layout.checkpoint(id);
    const manifest = this.catalogue.blank(id, words);
    manifest.parent = branch.record.checkpoint;
    manifest.base = branch.record.base;
    manifest.processes = branch.info().processes;
    let successor = branch;
    let rotated = false;
    let connected = false;
    const giveBack = async (): Promise<void> => {
      this.catalogue.forget(id);
      if (rotated) {
        undoRotation(branch.layout, place);
        branch.live.cgroup.thaw();
      }
      await removeTree(place.dir);
      if (!connected) await this.takeUp(branch);
    };
    try {
      branch.gateway?.hold();
      await branch.sessions.quiesce();
      faultPoint('take:quiesced', branch.live.pid);
      steps.done('connections let go');
      const captured = words.filesOnly
        ? await captureFiles(branch.live, branch.layout, place, steps)
        : await capture(machine, branch.live, branch.layout, place, words.way ?? 'auto', steps, branch.takeDump());
      rotated = captured.rotated;
      faultPoint('take:captured', branch.live.pid);
      manifest.pins = await this.pin(branch, place);
      faultPoint('take:pinned', branch.live.pid);
      manifest.rotated = rotated;
      manifest.stoppedMs = captured.stoppedMs;
      if (captured.took) manifest.took = { from: basename(dirname(captured.took.image)), bytes: captured.took.bytes };
      this.catalogue.add(manifest);
      if (!rotated) {
        connected = true;
        await this.takeUp(branch);
        steps.done('connections taken up');
      }
      if (captured.indexed) {
        const below = this.catalogue.stack(branch.record.base);
        const saved = existsSync(place.index) ? place.index : undefined;
        await inSlices(completeHardLinks(place.layer, below, this.state.around.linked, saved));
        await removeTree(place.index);
        steps.done('hard links completed');
      }
      if (rotated && !leaving) {
        // Whole before anybody stands on it. What follows can still take it back.
        writeRecord(place.manifest, manifest, { transient: true });
        const goesOn = (): void => {
          manifest.stoppedMs = round(performance.now() - captured.stoppedAt);
        };
        successor = await this.replace(branch, id, steps, goesOn);
        manifest.verified = true;
        rotated = false; // its files are the successor's now
        steps.done('connections taken up');
      }
      await this.catalogue.measure(manifest, place);
      manifest.totalMs = steps.total;
      const { used } = branch.record;
      if (used) manifest.usage = used;
      branch.record = { ...branch.record, used: undefined };
      writeRecord(place.manifest, manifest, { transient: true }); // `makeDurable` has it written out
      faultPoint('take:written', branch.live.pid);
    } catch (error) {
      if (successor === branch) {
        if (manifest.usage) branch.record = { ...branch.record, used: manifest.usage };
        await giveBack();
        throw error;
      }
      // The successor lives: what is missing is a note of sizes.
      this.state.around.log(`${this.state.record.id}/${id}: ${(error as Error).message}`);
    }
    steps.done('changes counted, manifest written');
    successor.record = { ...successor.record, checkpoint: id };
    successor.unasked = true;
    if (!(leaving && rotated)) successor.update({});
    faultPoint('take:done', branch.live.pid);
    this.state.tell('checkpoint/added', { sandbox: this.state.record.id, checkpoint: toCheckpoint(manifest) });
    const takeBack = async (): Promise<void> => {
      if (rotated) {
        branch.record = { ...branch.record, checkpoint: manifest.parent!, used: manifest.usage };
        await giveBack();
        this.state.tell('checkpoint/removed', { sandbox: this.state.record.id, checkpoint: id });
      }
    };
    return { manifest, branch: successor, takeBack };
  }

  /** Connections again, after a capture. Processes that did not survive it (nor anything else) are a head that died. */
  private async takeUp(branch: Branch): Promise<void> {
    try {
      // CRIU that was killed at the wrong moment leaves processes that are neither alive nor dead.
      const limit = new AbortController();
      branch.gateway?.release();
      const never = sleep(ANSWER_MS, undefined, { signal: limit.signal }).then(() => {
        throw new Error(`PID 1 did not answer within ${ANSWER_MS / 1000} s`);
      });
      await Promise.race([branch.sessions.resume(), never]).finally(() => limit.abort());
    } catch (error) {
      this.state.around.log(`${this.state.record.id}/${branch.id}: ${(error as Error).message}`);
      this.branches.died(branch);
      throw new TeleportError('notRunning', `the processes of ${this.state.record.name} ended meanwhile`, {
        hint: `teleport-env start ${shellWord(this.state.record.name)}`,
        cause: error,
      });
    }
  }

  /** Keeps what the image needs of the base. @returns generations of pins, newest first */
  private async pin(branch: Branch, place: CheckpointLayout): Promise<string[]> {
    const { base } = branch.record;
    const layers = this.catalogue.get(base).pins;
    if (!existsSync(join(place.image, 'files.img'))) return layers; // of files only
    const own = this.catalogue.ownLayers(base);
    return await this.state.around.base.pins.pin({
      files: filesOf(place.image),
      own: new LayerStack([place.layer, ...own, this.state.layout.skeleton]),
      layers,
      live: `/proc/${branch.live.pid}/root`,
      upper: branch.layout.upper,
    });
  }

  /**
   * After a rotation: a branch of the new checkpoint takes the place of the one whose upperdir it took.
   * @param goesOn called when the processes run again, in that branch
   */
  private async replace(branch: Branch, checkpoint: string, steps: Steps, goesOn: () => void): Promise<Branch> {
    const role = branch.record.role;
    const successor = await this.branches.make(checkpoint, role, steps);
    goesOn();
    await successor.sessions.inherit(branch.sessions.listeners, 'missed');
    faultPoint('take:replaced', successor.live.pid);
    this.branches.live.delete(branch.id);
    if (this.state.record.head === branch.id) this.state.save({ head: successor.id, current: checkpoint });
    successor.sessions.takeInput(branch.sessions); // from here on it is written there
    rotationDone(this.state.layout.checkpoint(checkpoint));
    await branch.succeededBy(successor);
    this.state.inBackground(() => branch.end('it was replaced'));
    return successor;
  }
}
