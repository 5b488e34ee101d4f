/** A sandbox's checkpoints, on disk and in mind: read, written, measured, made durable, deleted. */

import { existsSync, readdirSync, renameSync, statSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { countChanges, inSlices } from '../engine/diff.ts';
import { faultPoint } from '../engine/fault.ts';
import { flatten } from '../engine/flatten.ts';
import { checkImage, stampOf, sumImage, TICK_MS } from '../engine/image-sums.ts';
import type { CheckpointLayout } from '../engine/layout.ts';
import { refillReserve } from '../engine/reserve.ts';
import { rotationOf } from '../engine/rotation.ts';
import { LayerStack } from '../engine/stack.ts';
import { syncfsAsync } from '../engine/syscalls.ts';
import { bytesBelow, removeTree } from '../engine/trees.ts';
import { TeleportError } from '../protocol/errors.ts';
import type { Checkpoint } from '../protocol/model.ts';
import { shellWord } from '../protocol/shell-word.ts';
import { FORMAT, Manifest } from '../sandbox/records.ts';
import type { Rotation } from '../sandbox/recovery.ts';
import {
  bequeath,
  builtOn,
  type LayerOf,
  layersOf,
  leftAlone,
  numberOf,
  reparented,
  unsound,
} from '../sandbox/tree.ts';
import type { SandboxState } from './sandbox-state.ts';
import { neverWritten, readRecord, writeRecord } from './store.ts';

/** With more layers than that, those below a checkpoint are made one. A lookup through 30 takes no measurable time. */
const FLATTEN_ABOVE = 32;

/** Memory in an image. */
const PAGES = /^pages-\d+\.img$/;

/** What was read lately is in memory still: reading it again would not tell what the disk has. */
const COMPARED_MS = 60_000;

/** What a checkpoint is to say about itself. */
export interface Words {
  kind: Checkpoint['kind'];
  label?: string | null;
  command?: string | null;
  exitCode?: number | null;
  durationMs?: number | null;
  note?: string | null;
  hint?: string;
  filesOnly?: boolean;
  /** For tests and measurements: how the layer is made. */
  way?: 'auto' | 'copy' | 'rotate';
}

export class Catalogue {
  private readonly state: SandboxState;
  private readonly manifests = new Map<string, Manifest>();
  /** On disk, but not to be used: why, and what is known of them; of one whose manifest can't be `read`, next to nothing. */
  readonly damaged = new Map<string, { why: string; manifest: Manifest; read: boolean }>();
  private readonly becomingDurable = new Map<string, Promise<void>>();
  private flattening: Promise<void> | null = null;
  /** Being deleted: there still, but nobody may begin anything with it. */
  private readonly going = new Set<string>();
  /** Images that are known to be what was written: since when, and which files those are. */
  private readonly compared = new Map<string, { stamp: string; at: number }>();

  constructor(state: SandboxState) {
    this.state = state;
  }

  /** Newest first. Damaged ones too, as broken: nothing that was made vanishes without a word. */
  list(): Checkpoint[] {
    const damaged = [...this.damaged.values()].map(({ why, manifest }) => ({ ...manifest, broken: `damaged: ${why}` }));
    const all = [...this.manifests.values(), ...damaged];
    return all.sort((a, b) => numberOf(b.id) - numberOf(a.id)).map(toCheckpoint);
  }

  checkpoint(id: string): Checkpoint {
    return toCheckpoint(this.get(id));
  }

  get tree(): ReadonlyMap<string, Manifest> {
    return this.manifests;
  }

  /** Those that can be gone to, as far as one knows. */
  get usable(): ReadonlyMap<string, Manifest> {
    return new Map([...this.manifests].filter(([id, { broken }]) => !broken && !this.going.has(id)));
  }

  /** @throws TeleportError `unknownCheckpoint`, `checkpointDamaged` */
  get(id: string): Manifest {
    const manifest = this.going.has(id) ? undefined : this.manifests.get(id);
    if (manifest) return manifest;
    const damage = this.damaged.get(id);
    if (damage)
      throw new TeleportError('checkpointDamaged', `${id} is damaged: ${damage.why}`, {
        hint: `choose another checkpoint; teleport-env delete ${id} removes it`,
      });
    throw new TeleportError('unknownCheckpoint', `${this.state.record.name} has no checkpoint ${id}`, {
      hint: `teleport-env log ${shellWord(this.state.record.name)} lists them`,
    });
  }

  /** Without the base's. */
  ownLayers(checkpoint: string): string[] {
    const layers = layersOf(this.manifests, this.get(checkpoint).id);
    return layers.map(({ id, kind }) => this.state.layout.checkpoint(id)[kind]);
  }

  layerPaths(checkpoint: string): string[] {
    return [
      ...this.ownLayers(checkpoint),
      this.state.layout.skeleton,
      ...this.pinPaths(checkpoint),
      this.state.around.base.root(),
    ];
  }

  /** The files of a checkpoint as one sees them, down to the base. */
  stack(checkpoint: string): LayerStack {
    const { mask } = this.state.layout.checkpoint(checkpoint);
    const paths = this.layerPaths(checkpoint);
    return new LayerStack(existsSync(mask) ? [mask, ...paths] : paths);
  }

  add(manifest: Manifest): void {
    this.manifests.set(manifest.id, manifest);
  }

  forget(checkpoint: string): void {
    this.manifests.delete(checkpoint);
    this.damaged.delete(checkpoint);
    this.compared.delete(checkpoint);
  }

  pinPaths(checkpoint: string): string[] {
    return this.get(checkpoint).pins.map((name) => this.state.around.base.pins.layerPath(name));
  }

  blank(id: string, words: Words): Manifest {
    const { machine } = this.state.around;
    return {
      format: FORMAT,
      id,
      parent: null,
      base: null,
      kind: words.kind,
      label: words.label ?? null,
      command: words.command ?? null,
      exitCode: words.exitCode ?? null,
      durationMs: words.durationMs ?? null,
      createdAt: new Date().toISOString(),
      filesChanged: 0,
      bytes: 0,
      processes: 0,
      stoppedMs: 0,
      totalMs: 0,
      note: words.note ?? null,
      ...(words.hint ? { hint: words.hint } : {}),
      filesOnly: words.filesOnly ?? false,
      rotated: false,
      verified: false,
      durable: false,
      bootId: machine.bootId,
      criu: machine.criuVersion,
      kernel: machine.kernel,
      pins: [],
    };
  }

  /** Checkpoints that were never finished go; damaged ones, and what lies on them, stay but are not used. */
  load(): Rotation[] {
    const rotations: Rotation[] = [];
    const unfinished: string[] = [];
    for (const id of readdirSync(this.state.layout.checkpoints)) {
      const place = this.state.layout.checkpoint(id);
      const branch = rotationOf(place);
      if (branch) rotations.push({ checkpoint: id, branch });
      if (!existsSync(place.manifest) || neverWritten(place.manifest)) {
        unfinished.push(id);
        continue;
      }
      try {
        const manifest = readRecord(Manifest, place.manifest);
        // Written but not synced when the machine went down: nobody knows what of it is there.
        if (!manifest.durable && manifest.bootId !== this.state.around.machine.bootId) {
          unfinished.push(id);
          continue;
        }
        // What it stands for is all there still, unless it was left alone.
        if (manifest.flat && !manifest.alone && !existsSync(place.flat)) manifest.flat = false;
        // Nobody stands on it before the manifest says that it is there.
        if (!manifest.flat && existsSync(place.flat)) this.discardHalf(id);
        this.manifests.set(id, manifest);
      } catch (error) {
        this.spoilt(id, (error as Error).message);
      }
    }
    const there = ({ id, kind }: LayerOf): boolean => existsSync(this.state.layout.checkpoint(id)[kind]);
    for (const [id, why] of unsound(this.manifests, there)) this.spoilt(id, why);
    for (const [id, { why }] of this.damaged) {
      this.state.around.log(`${this.state.record.id}/${id}: damaged: ${why}`);
      this.manifests.delete(id);
    }
    for (const id of unfinished) {
      // A folder whose manifest was lost may still be what others lie on.
      if (this.damaged.size) this.spoilt(id, 'its manifest is missing');
      else if (!rotations.some((r) => r.checkpoint === id)) this.discardUnfinished(id);
    }
    return rotations;
  }

  private spoilt(id: string, why: string): void {
    const known = this.manifests.get(id);
    const manifest = known ?? this.blank(id, { kind: 'explicit' });
    if (!known) manifest.createdAt = statSync(this.state.layout.checkpoint(id).dir).mtime.toISOString();
    this.damaged.set(id, { why, manifest, read: known !== undefined });
  }

  /** Damaged ones whose files may lie on this one's: they can be put right only as long as it is there. */
  private damagedOn(id: string): string[] {
    return [...this.damaged]
      .filter(([, { manifest, read }]) => (read ? manifest.base === id : numberOf(manifest.id) > numberOf(id)))
      .map(([other]) => other);
  }

  /** Those that damaged ones may lie on. */
  heldByDamaged(): string[] {
    return [...this.manifests.keys()].filter((id) => this.damagedOn(id).length > 0);
  }

  discardUnfinished(id: string): void {
    this.state.around.log(`${this.state.record.id}/${id}: removed, it was never finished`);
    this.state.inBackground(() => removeTree(this.state.layout.checkpoint(id).dir));
  }

  /** One layer of many that was never whole. Out of the way at once: it may be made anew before this one is gone. */
  private discardHalf(id: string): void {
    const half = join(this.state.around.machine.layout.trash, `${this.state.record.id}-${id}-flat`);
    renameSync(this.state.layout.checkpoint(id).flat, half);
    this.state.inBackground(() => removeTree(half));
  }

  async measure(manifest: Manifest, place: CheckpointLayout): Promise<void> {
    const [filesChanged, image, layer] = await Promise.all([
      countChanges(this.stack(manifest.parent!), this.stack(manifest.id)),
      sizeOf(place.image),
      inSlices(bytesBelow(place.layer)),
    ]);
    manifest.filesChanged = filesChanged;
    manifest.memory = image;
    manifest.bytes = image - (manifest.took?.bytes ?? 0) + layer;
  }

  /**
   * Its memory image is what was written, as far as that is known. One of many forks of a checkpoint need not read it again.
   * @param waiting somebody waits for the branch: an image that this helper summed up or compared, and that nobody touched since, is
   * not compared again. The standby that is made of it then, or in its place later on, is
   */
  checkOf({ id, sums }: Manifest, waiting: boolean): (() => Promise<void>) | undefined {
    if (!sums) return undefined;
    const { image } = this.state.layout.checkpoint(id);
    const stamp = stampOf(image, sums);
    const last = this.compared.get(id);
    const untouched = stamp !== null && last?.stamp === stamp;
    if (untouched && (waiting || performance.now() - last.at < COMPARED_MS)) return undefined;
    return async () => {
      this.compared.delete(id);
      await checkImage(image, sums, this.state.around.machine.readsDirect);
      if (stamp !== null) this.compared.set(id, { stamp, at: performance.now() });
    };
  }

  /** The image is what its sums say, by what this helper itself read. */
  private isKnown({ id, sums }: Manifest): boolean {
    const last = this.compared.get(id);
    return (
      sums !== undefined && last !== undefined && last.stamp === stampOf(this.state.layout.checkpoint(id).image, sums)
    );
  }

  label(checkpoint: string, label: string | null): Checkpoint {
    const manifest = this.get(checkpoint);
    manifest.label = label;
    writeRecord(this.state.layout.checkpoint(checkpoint).manifest, manifest, { sync: manifest.durable });
    this.state.tell('checkpoint/changed', { sandbox: this.state.record.id, checkpoint: toCheckpoint(manifest) });
    return toCheckpoint(manifest);
  }

  /**
   * @param needed by live branches, as of when it is asked
   * @param vacate ends those that stand on it and could as well be made anew; none is made of it any more
   * @returns bytes freed
   * @throws TeleportError `checkpointInUse`
   */
  async remove(checkpoint: string, needed: () => ReadonlySet<string>, vacate: () => Promise<void>): Promise<number> {
    await this.flattening?.catch(() => {}); // told by whoever began it
    const manifest = this.damaged.get(checkpoint)?.manifest ?? this.get(checkpoint);
    const above = [...builtOn(this.manifests, checkpoint), ...this.damagedOn(checkpoint)];
    const isRoot = this.damaged.has(checkpoint) ? checkpoint === 'k0' : manifest.parent === null;
    if (isRoot || above.length || needed().has(checkpoint))
      throw new TeleportError(
        'checkpointInUse',
        `${checkpoint} is in use: ${isRoot ? 'it is the root of the sandbox' : above.length ? `${above.join(', ')} ${above.some((id) => this.damaged.has(id)) ? 'may lie' : 'lie'} on it` : 'the current state or a live fork comes from it'}`,
        { hint: 'delete those first, or roll back to another one' },
      );
    this.going.add(checkpoint);
    try {
      await vacate();
      return await this.take(manifest);
    } finally {
      this.going.delete(checkpoint);
    }
  }

  /** Takes it out of the tree and away. @returns bytes freed */
  private async take(manifest: Manifest): Promise<number> {
    const checkpoint = manifest.id;
    for (const { id, base } of leftAlone(this.manifests, checkpoint)) this.leaveAlone(id, base);
    faultPoint('delete:alone');
    for (const child of reparented(new Map([...this.manifests, [checkpoint, manifest]]), checkpoint)) {
      const other = this.manifests.get(child.id)!;
      other.parent = child.parent;
      writeRecord(this.state.layout.checkpoint(child.id).manifest, other);
      this.state.tell('checkpoint/changed', { sandbox: this.state.record.id, checkpoint: toCheckpoint(other) });
    }
    faultPoint('delete:reparented');
    // Without its manifest the checkpoint does not exist, whatever is left of the folder.
    await removeTree(this.state.layout.checkpoint(checkpoint).manifest);
    faultPoint('delete:manifest');
    this.forget(checkpoint);
    await removeTree(this.state.layout.checkpoint(checkpoint).dir);
    const kept = this.inherit(manifest);
    refillReserve();
    this.state.save({ undo: this.state.record.undo.filter((id) => id !== checkpoint) });
    this.state.tell('checkpoint/removed', { sandbox: this.state.record.id, checkpoint });
    return Math.max(0, manifest.bytes - kept);
  }

  /** @returns bytes that its heirs keep, see `bequeath` */
  private inherit(gone: Manifest): number {
    const heirs = [...this.manifests.values()].filter((other) => other.took?.from === gone.id);
    const kept = bequeath(heirs, gone);
    for (const heir of heirs) {
      writeRecord(this.state.layout.checkpoint(heir.id).manifest, heir);
      this.state.tell('checkpoint/changed', { sandbox: this.state.record.id, checkpoint: toCheckpoint(heir) });
    }
    return kept;
  }

  /** Written for good before anything goes that lay below it: its layer alone would tell another story. */
  private leaveAlone(id: string, base: string): void {
    const manifest = this.manifests.get(id)!;
    Object.assign(manifest, { base, alone: true });
    writeRecord(this.state.layout.checkpoint(id).manifest, manifest, { sync: true });
  }

  /** Of which nobody knows yet whether they can be restored, newest first. */
  unproven(): string[] {
    const found = [...this.usable.values()].filter(({ verified }) => !verified);
    return found.map(({ id }) => id).sort((a, b) => numberOf(b) - numberOf(a));
  }

  /** A restore of it succeeded, or did not. */
  proven(checkpoint: string, problem: string | null): void {
    const manifest = this.manifests.get(checkpoint);
    if (!manifest || this.state.removed || (problem === null && manifest.verified)) return;
    if (problem === null) manifest.verified = true;
    else manifest.broken = problem;
    writeRecord(this.state.layout.checkpoint(checkpoint).manifest, manifest);
    this.state.tell('checkpoint/changed', { sandbox: this.state.record.id, checkpoint: toCheckpoint(manifest) });
  }

  /**
   * Makes one layer of many below a checkpoint, where there are: branches of it, and of what comes after it, stand on that one. Those
   * that live go on with what they have.
   */
  async flattenBelow(checkpoint: string): Promise<void> {
    const base = this.manifests.get(checkpoint)?.base;
    if (!base || this.flattening || layersOf(this.manifests, base).length <= FLATTEN_ABOVE) return;
    this.flattening = this.flatten(base).finally(() => (this.flattening = null));
    await this.flattening;
  }

  private async flatten(checkpoint: string): Promise<void> {
    const { dir, flat, manifest: file } = this.state.layout.checkpoint(checkpoint);
    try {
      await inSlices(flatten(this.layerPaths(checkpoint), this.ownLayers(checkpoint).length - 1, flat));
      faultPoint('flatten:made');
      await syncfsAsync(dir);
      const manifest = this.manifests.get(checkpoint);
      if (!manifest || this.state.removed) return;
      writeRecord(file, { ...manifest, flat: true }, { sync: true });
      manifest.flat = true;
    } catch (error) {
      await removeTree(flat); // half of it is of no use, and on a volume that is full in the way
      throw error;
    }
    faultPoint('flatten:done');
  }

  /** It is written to disk, and what was written is known. Asked for twice, it is done once: the sums are those of that time. */
  makeDurable(checkpoint: string): Promise<void> {
    const begun = this.becomingDurable.get(checkpoint);
    if (begun) return begun;
    const done = this.sync(checkpoint)
      .catch((error) => {
        // Deleted meanwhile, its files were not there to be read: nothing is lost that anybody wants.
        if (this.manifests.has(checkpoint) && !this.state.removed) throw error;
      })
      .finally(() => this.becomingDurable.delete(checkpoint));
    this.becomingDurable.set(checkpoint, done);
    return done;
  }

  private async sync(checkpoint: string): Promise<void> {
    const manifest = this.manifests.get(checkpoint);
    if (!manifest || manifest.durable || this.state.removed) return;
    const { image, dir } = this.state.layout.checkpoint(checkpoint);
    // Most of the sums are known when those of the image are that most of the memory was taken over from.
    await this.becomingDurable.get(manifest.took?.from ?? '')?.catch(() => {}); // told by whoever asked for it
    const before = this.manifests.get(manifest.took?.from ?? '');
    const known = before?.sums ? { dir: this.state.layout.checkpoint(before.id).image, sums: before.sums } : undefined;
    // Sums of what was taken over are those of the image before.
    const sure = !known || this.isKnown(before!);
    // What changed this very moment is not known to have been the same when it was read.
    await sleep(TICK_MS + 5);
    if (!this.manifests.has(checkpoint) || this.state.removed) return;
    const began = Date.now();
    const sums = manifest.filesOnly ? undefined : await sumImage(image, known);
    const stamp = sums && sure ? stampOf(image, sums, began) : null;
    await syncfsAsync(dir);
    if (!this.manifests.has(checkpoint) || this.state.removed) return;
    manifest.sums = sums;
    if (stamp !== null) this.compared.set(checkpoint, { stamp, at: performance.now() });
    writeRecord(this.state.layout.checkpoint(checkpoint).manifest, { ...manifest, durable: true }, { sync: true });
    manifest.durable = true;
    this.state.tell('checkpoint/changed', { sandbox: this.state.record.id, checkpoint: toCheckpoint(manifest) });
  }
}

export function toCheckpoint(m: Manifest): Checkpoint {
  const {
    id,
    parent,
    kind,
    label,
    command,
    exitCode,
    durationMs,
    createdAt,
    filesChanged,
    bytes,
    processes,
    stoppedMs,
    totalMs,
    note,
  } = m;
  const state = {
    durable: m.durable,
    verified: m.verified,
    filesOnly: m.filesOnly,
    ...(m.broken ? { broken: m.broken } : {}),
  };
  return {
    id,
    parent,
    kind,
    label,
    command,
    exitCode,
    durationMs,
    createdAt,
    filesChanged,
    bytes,
    processes,
    stoppedMs,
    totalMs,
    ...(m.hint ? { hint: m.hint } : {}),
    ...(m.usage ? { usage: m.usage } : {}),
    note,
    state,
  };
}

/** Bytes that an image takes. */
async function sizeOf(image: string): Promise<number> {
  const names = await readdir(image);
  const stats = await Promise.all(names.map((name) => stat(join(image, name))));
  // While pages are written anew, the file system sets more blocks aside for them than they will take.
  return stats.reduce((sum, s, i) => sum + (PAGES.test(names[i]!) ? s.size : s.blocks * 512), 0);
}
