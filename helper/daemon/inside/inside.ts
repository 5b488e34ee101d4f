/**
 * Requests of processes inside a sandbox's branches. Which sandbox and branch that is, the connection says that a request came
 * over, and nothing in the request. They can keep moments, look, and go back; nothing that they ask for drops state.
 *
 * A process that waits for its answer is part of the image. Where a branch is made of that image, its PID 1 tells of the request
 * again, and the process is answered from there: that it is back.
 */
import { statfsSync } from 'node:fs';
import type { Answer, Ask } from '../../engine/init-client.ts';
import { TeleportError } from '../../protocol/errors.ts';
import type { Checkpoint } from '../../protocol/model.ts';
import type { Branch } from '../branch.ts';
import { type House, nameOf, tellLost } from './house.ts';
import { QuietWatch } from './quiet-watch.ts';
import { type Step, stepOf } from './step.ts';
import { answer, failure, listed, restored, taken } from './texts.ts';
import { HELP, readWish, type Wish } from './words.ts';

/** Below that much free, only who is outside may fill the volume further. */
const FREE_SHARE = 0.05;

/** An ask under way. */
interface Work {
  ask: number;
  branch: Branch;
  /** The checkpoint that is being made for it; null: none was made. */
  made?: Promise<string | null>;
}

export class Inside {
  private readonly house: House;
  private readonly work = new Set<Work>();
  private readonly watches = new Map<string, QuietWatch>();

  constructor(house: House) {
    this.house = house;
  }

  /** @param adopted it was alive before this helper was: what was asked then, nobody knows the end of */
  serve(branch: Branch, adopted = false): void {
    branch.sessions.hearAsks(
      (ask) => void this.heard(branch, ask, adopted),
      (number) => this.left(branch, number),
    );
  }

  private async heard(branch: Branch, ask: Ask, adopted: boolean): Promise<void> {
    // Told again after a capture, by the branch in which it is being worked on.
    if ([...this.work].some((one) => one.branch === branch && one.ask === ask.number)) return;
    let json = ask.words.includes('--json');
    const work: Work = { ask: ask.number, branch };
    this.work.add(work);
    try {
      const wish = readWish(ask.words.slice(0, -1));
      json = 'json' in wish && wish.json;
      if (wish.verb === 'agent') return this.arrived(branch, ask.number, wish);
      const reply = ask.again ? await this.again(work, ask, wish, adopted) : await this.grant(work, ask, wish);
      // Where a rotation replaced the branch, the successor's PID 1 told of the ask, and `again` answers it there.
      if (!branch.over) await branch.sessions.answer(ask.number, reply);
    } catch (error) {
      if (!branch.over) await branch.sessions.answer(ask.number, failure(error, json)).catch(() => {});
    } finally {
      this.work.delete(work);
    }
  }

  private async grant(work: Work, ask: Ask, wish: Exclude<Wish, { verb: 'agent' }>): Promise<Answer> {
    const { branch } = work;
    switch (wish.verb) {
      case 'help':
        return { code: 0, out: HELP };
      case 'status':
        return this.status(branch, wish.json);
      case 'log':
        return listed(this.house.catalogue.list().slice(0, wish.limit), branch.record.checkpoint, wish.json);
      case 'checkpoint': {
        const { label, note, expect } = wish;
        this.house.branches.expect(expect);
        return taken(await this.take(work, { kind: 'explicit', label, note }), wish.json);
      }
      case 'hook': {
        const step = stepOf(ask.input.toString('utf8')) ?? unknownStep(wish.agent);
        await this.take(work, { kind: 'run', ...step }).catch((error) => {
          tellLost(this.house, branch, nameOf(wish.agent), error);
          throw error;
        });
        return { code: 0 }; // some agents take whatever a hook prints for an instruction
      }
      case 'rollback':
        if (branch.id !== this.house.record.head)
          throw new TeleportError('notAllowed', `this is live fork ${branch.id}: only the current branch can go back`, {
            hint: 'outside, make it current first',
          });
        this.house.catalogue.checkpoint(wish.checkpoint);
        this.house.branches.expect(wish.expect);
        await this.house.rollback(wish.checkpoint, { discard: false });
        return { code: 0 }; // to nobody: who asked is undone
    }
  }

  private async take(
    work: Work,
    words: { kind: 'explicit' | 'run'; label?: string } & Partial<Step>,
  ): Promise<Checkpoint> {
    const { bavail, blocks } = statfsSync(this.house.state.layout.dir);
    if (bavail < blocks * FREE_SHARE)
      throw new TeleportError('volumeFull', 'the state volume is almost full, so nothing more is kept from inside', {
        hint: 'outside: teleport-env gc --keep 10',
      });
    const making = this.house.createCheckpoint(words, work.branch.id);
    work.made = making.then(
      ({ checkpoint }) => checkpoint.id,
      () => null,
    );
    return (await making).checkpoint;
  }

  /** It was asked in a life before this one. */
  private async again(work: Work, ask: Ask, wish: Exclude<Wish, { verb: 'agent' }>, adopted: boolean): Promise<Answer> {
    const json = 'json' in wish && wish.json;
    const { branch } = work;
    if (wish.verb === 'checkpoint' || wish.verb === 'hook') {
      if (adopted)
        throw new TeleportError('noHelper', 'the helper was restarted meanwhile', {
          hint: 'teleport-env log tells whether the checkpoint was taken',
        });
      const here = this.house.catalogue.checkpoint(branch.record.base);
      const elder = [...this.work].find((one) => one.ask === ask.number && one.branch !== branch);
      const replaced = elder !== undefined && (await elder.made) === here.id;
      if (wish.verb === 'hook') return { code: 0 };
      return replaced ? taken(this.house.catalogue.checkpoint(here.id), json) : restored(here, json);
    }
    if (wish.verb === 'rollback')
      throw new TeleportError(
        'cancelled',
        `that rollback was undone: this is ${branch.record.base}, from where it was asked for`,
      );
    return await this.grant(work, ask, wish);
  }

  private status(branch: Branch, json: boolean): Answer {
    const { id: sandbox, name, head } = this.house.record;
    const { id, checkpoint } = branch.record;
    const role = id === head ? 'current' : `live fork ${id}`;
    const data = { sandbox, name, branch: id, current: id === head, checkpoint };
    return answer(json, data, `${name} (${sandbox}) · ${role} · after ${checkpoint}\n`);
  }

  private arrived(branch: Branch, number: number, { agent, quiet }: Wish & { verb: 'agent' }): void {
    const name = nameOf(agent);
    const known = branch.agents.has(number);
    branch.agents.set(number, name);
    for (const [of, watch] of this.watches) if (watch.over) this.watches.delete(of);
    // Told again after a capture: the watch goes on.
    if (quiet && !this.watches.has(key(branch, number)))
      this.watches.set(key(branch, number), new QuietWatch(branch, this.house, name));
    if (!known) this.house.changed();
  }

  /** Nobody waits any more; of agents: it ended. */
  private left(branch: Branch, number: number): void {
    const watch = this.watches.get(key(branch, number));
    this.watches.delete(key(branch, number));
    void watch?.end();
    if (branch.agents.delete(number)) this.house.changed();
  }

  /** The sandbox is stopped or removed. */
  close(): void {
    for (const watch of this.watches.values()) watch.stop();
    this.watches.clear();
  }
}

function key(branch: Branch, number: number): string {
  return `${branch.id}/${number}`;
}

function unknownStep(agent: string): Step {
  return { command: `a tool of ${nameOf(agent)}` };
}
