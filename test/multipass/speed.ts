/**
 * What the way through a machine costs, where no emulation stands in it: our part of it against the native path, on this
 * very host. `multipass exec` is a shell that runs the words here, so Multipass's own time and its network are not in it.
 * Needs root and CRIU; prints, asserts nothing.
 *
 *   npm run bench:machine
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Machine } from '../../src/connection/multipass/machine.ts';
import { multipassPlace } from '../../src/connection/multipass/place.ts';
import { multipassRunner, runProgram } from '../../src/connection/multipass/runner.ts';
import { Storage } from '../../src/connection/multipass/storage.ts';
import { execTransport } from '../../src/connection/multipass/transport.ts';
import { copyIn } from '../../src/connection/multipass/workspace/copy-in.ts';
import type { Place } from '../../src/connection/place.ts';
import { HelperProcess } from '../daemon/helper-process.ts';
import { connect } from '../vm/client.ts';
import { fakePayload } from './fake-world.ts';

const root = resolve(__dirname, '../..');
const NAME = 'teleport-env';
const REQUESTS = 1_000;

/** Everything that a guest has is in `dir/guest`. */
const standIn = (dir: string) => `#!/bin/bash
guest='${dir}/guest'
case $1 in
  version) echo '{"multipass":"1.16.3","multipassd":"1.16.3"}' ;;
  info) echo '{"errors":[],"info":{"${NAME}":{"state":"Running","ipv4":["127.0.0.1"]}}}' ;;
  exec)
    shift 4
    words=("\${@//\\/etc\\/teleport-env/$guest/etc}")
    words=("\${words[@]//\\/var\\/lib\\/cloud/$guest}")
    words=("\${words[@]//\\/usr\\/local\\/bin\\/teleport-env/$guest/teleport-env}")
    exec "\${words[@]}" ;;
esac
`;

async function main(): Promise<void> {
  const helper = await HelperProcess.start();
  try {
    await measure(helper);
  } finally {
    await helper.stop();
  }
}

async function measure(helper: HelperProcess): Promise<void> {
  const { dir, socket } = helper;
  const guest = join(dir, 'guest');
  const { provisioned } = fakePayload();
  for (const made of ['etc', 'instance', 'workspaces']) mkdirSync(join(guest, made), { recursive: true });
  writeFileSync(join(guest, 'etc/machine'), '');
  writeFileSync(join(guest, 'etc/provisioned'), Object.values(provisioned).join(' '));
  writeFileSync(join(guest, 'instance/boot-finished'), '');
  const dist = join(dir, 'dist');
  execFileSync('npx', ['tsx', join(root, 'scripts/build.ts'), '--out', dist, '--no-maps'], { cwd: root });
  const program = [process.execPath, join(dist, 'teleport-env.js')];
  const words = `TELEPORT_ENV_SOCKET='${socket}' exec '${program.join("' '")}' "$@"\n`;
  writeFileSync(join(guest, 'teleport-env'), `#!/bin/sh\n${words}`, { mode: 0o755 });
  const command = join(dir, 'multipass');
  writeFileSync(command, standIn(dir), { mode: 0o755 });

  const machine = new Machine(() => ({
    runner: multipassRunner(command, 'linux'),
    run: runProgram,
    storage: new Storage(join(dir, 'storage')),
    host: { platform: 'linux', cpus: 2, memory: 16 * 2 ** 30 },
    settings: { name: NAME, image: '26.04', cpus: 2, memory: 2048, disk: 12 },
    payload: () => fakePayload(),
  }));
  const place = multipassPlace({
    machine,
    during: (_, work) => work(() => {}, new AbortController().signal),
    exclude: () => [],
    log: () => {},
    survivesReload: () => true,
  });
  const native = {
    connect: () => ({ command: join(guest, 'teleport-env'), args: ['connect'], env: {} }),
  } as Pick<Place, 'connect'> as Place;
  const way = { transport: execTransport(command, NAME), run: runProgram };

  const many = join(dir, 'many');
  mkdirSync(many);
  for (let i = 0; i < 2_000; i++) writeFileSync(join(many, String(i)), Buffer.alloc(20_000, i));
  writeFileSync(join(many, 'large'), Buffer.alloc(60_000_000, 1));
  const copied = await copyIn(way, { folder: many, to: join(guest, 'workspaces/many'), exclude: new Set() });
  const speed = copied.bytes / 1e6 / (copied.ms / 1000);
  print('copy-in, 2,001 files, 100 MB', `${speed.toFixed(0)} MB/s`, '≥ 20 MB/s', speed >= 20);

  const small = join(dir, 'small');
  mkdirSync(small);
  for (let i = 0; i < 200; i++) writeFileSync(join(small, String(i)), Buffer.alloc(10_000, i));
  const began = performance.now();
  const inMachine = await connect(place);
  const workspace = join(guest, 'workspaces/small');
  await copyIn(way, { folder: small, to: workspace, exclude: new Set() });
  const { sandbox } = await inMachine.ask('sandbox/create', { workspace });
  const seconds = (performance.now() - began) / 1000;
  print('from “running” to a sandbox, 200 files, 2 MB', `${seconds.toFixed(2)} s`, '≤ 5 s', seconds <= 5);

  const here = await connect(native);
  const times: [number[], number[]] = [[], []];
  for (let i = 0; i < REQUESTS + 50; i++)
    for (const [which, client] of [here, inMachine].entries()) {
      const started = performance.now();
      await client.ask('sandbox/get', { sandbox: sandbox.id });
      // The first ones warm the code up.
      if (i >= 50) times[which as 0 | 1].push(performance.now() - started);
    }
  const [a, b] = times.map((all) => all.sort((x, y) => x - y)) as [number[], number[]];
  for (const [title, at] of [
    ['p50', 0.5],
    ['p95', 0.95],
  ] as const) {
    const [x, y] = [a[Math.floor(a.length * at)]!, b[Math.floor(b.length * at)]!];
    const both = `${x.toFixed(2)} ms natively, ${y.toFixed(2)} ms through the machine`;
    print(`a request, ${title} of ${REQUESTS}`, `${(y - x).toFixed(2)} ms more (${both})`, '≤ 2 ms more', y - x <= 2);
  }
  await Promise.all([here.close(), inMachine.close()]);
  console.log(
    'Not in these: Multipass’s own time, a hypervisor, its network and disk. test/vm prints how long the same takes in a real guest, where emulation makes everything many times slower.',
  );
}

function print(what: string, value: string, goal: string, met: boolean): void {
  console.log(`${met ? '✓' : '✗'} ${what.padEnd(46)} ${value}   (goal: ${goal}${met ? '' : ', missed'})`);
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
