/** The counter's container restarted, what the original compares itself with, beside our rollback. Files stay as they are. */
import { add, type Bench } from './bench.ts';
import { COUNTER } from './inside.ts';
import { ENGINES, engine } from './peers/engines.ts';
import type { PythonPeer } from './peers/python-peer.ts';
import { runc } from './peers/runc.ts';
import { Subject } from './subject.ts';

/** Restarts with the default stop timeout take ten seconds each: PID 1 of a container ignores SIGTERM. */
const FEW = 2;

interface Way {
  subject: string;
  peer: PythonPeer;
  ask: string;
  ran: string;
  few?: string;
}

export async function restarts(bench: Bench): Promise<void> {
  const figure = 'container restart';
  const ways: Way[] = [];
  const peers: PythonPeer[] = [];
  const subject = await Subject.create(bench.helper.connection, COUNTER);
  try {
    const join = async (name: string, peer: PythonPeer, asks: Omit<Way, 'peer'>[]): Promise<void> => {
      peers.push(peer);
      try {
        await peer.begin();
        ways.push(...asks.map((way) => ({ ...way, peer })));
      } catch (error) {
        bench.leftOut.push({ workload: 'restart', figure, subject: name, why: (error as Error).message });
        bench.say(`restart: ${figure}, ${name}: ${(error as Error).message}`);
      }
    };
    await join('runc', runc(bench.criuDir), [
      { subject: 'runc', ask: 'restart', ran: 'runc delete -f, runc run -d, until it counts' },
    ]);
    for (const name of ENGINES)
      await join(name, engine(name, bench.criuDir), [
        { subject: `${name}, -t 0`, ask: 'restart at once', ran: `${name} restart -t 0, until it counts` },
        {
          subject: name,
          ask: 'restart',
          ran: `${name} restart, whose stop timeout of 10 s runs out, until it counts`,
          few: 'each waits for 10 s',
        },
      ]);
    await subject.run(COUNTER.start);
    const checkpoint = await subject.witnessed('base');
    const ours: number[] = [];
    const theirs = new Map<Way, number[]>(ways.map((way) => [way, []]));
    for (let i = 0; i < bench.rounds; i++) {
      await subject.verified(checkpoint);
      ours.push((await subject.rollback(checkpoint)).ms);
      for (const [way, times] of theirs)
        if (way.ask !== 'restart' || way.subject === 'runc' || i < FEW) times.push((await way.peer.ask(way.ask))[0]);
    }
    const context = 'in turn with restarts of containers';
    add(bench, { workload: 'restart', figure: 'rollback, in place of a restart', subject: 'ours', context }, ours);
    for (const [way, times] of theirs)
      add(bench, { workload: 'restart', figure, subject: way.subject, context: way.ran, few: way.few }, times);
  } finally {
    for (const peer of peers) await peer.end();
    await subject.remove();
  }
}
