import type { Checkpoint, Need, Sandbox } from '../../helper/protocol/model.ts';

export type ScenarioName =
  | 'sample'
  | 'empty'
  | 'many'
  | 'large'
  | 'old'
  | 'new'
  | 'noHelper'
  | 'noCriu'
  | 'hanging'
  | 'odd';

export interface World {
  needs: Need[];
  sandboxes: Sandbox[];
  checkpoints: Map<string, Checkpoint[]>;
  branches: number;
  screens: Map<string, string>;
  typed: string;
  /** What a terminal's shell was given to mark its commands with. */
  nonce: string;
  undo: string | null;
}

export function checkpointOf(given: Partial<Checkpoint> & Pick<Checkpoint, 'id' | 'parent' | 'createdAt'>): Checkpoint {
  return {
    kind: 'explicit',
    label: null,
    command: null,
    exitCode: null,
    durationMs: null,
    filesChanged: 0,
    bytes: 7_400_000,
    processes: 3,
    stoppedMs: 14.2,
    totalMs: 31,
    note: null,
    ...given,
    state: { durable: false, verified: false, filesOnly: false, ...given.state },
  };
}

export function sandboxOf(given: Partial<Sandbox> & Pick<Sandbox, 'id' | 'name'>): Sandbox {
  return {
    workspace: `/home/me/${given.name}`,
    owner: 1000,
    state: 'running',
    network: 'none',
    createdAt: '2026-11-23T10:00:00.000Z',
    head: 'b1',
    current: 'k0',
    branches: [
      {
        id: 'b1',
        role: 'head',
        checkpoint: given.current ?? 'k0',
        createdAt: '2026-11-23T10:00:00.000Z',
        processes: 3,
      },
    ],
    checkpoints: 1,
    canUndo: false,
    ...given,
  };
}

const OK: Need[] = [
  { id: 'kernel', title: 'Kernel', status: 'ok', detail: '6.12 with CONFIG_CHECKPOINT_RESTORE' },
  { id: 'criu', title: 'CRIU', status: 'ok', detail: '4.2.1, fits the kernel' },
  { id: 'overlay', title: 'Overlay file system', status: 'ok', detail: 'mounts, 500 layers' },
  {
    id: 'dirty',
    title: 'Dirty tracking',
    status: 'warning',
    detail: 'CONFIG_MEM_SOFT_DIRTY is off',
    remedy: 'Checkpoints of large programs take longer. A distribution kernel has it.',
  },
];

const DAY = 86_400_000;
export const HUGE = 100_000_000;
/** What a step of the scenario `odd` changed. */
export const ODD_FILES: readonly { path: string; size: number }[] = [
  { path: 'a b #1 %20 ?.txt', size: 30 },
  { path: 'ünïcode “quoted”/-rf *.json', size: 30 },
  { path: 'logo.png', size: 64 },
  { path: 'huge.bin', size: HUGE },
];

/** Newest first; the head stands on a line of its own making, with one limb beside it. */
function sampleCheckpoints(now: number): Checkpoint[] {
  const at = (seconds: number) => new Date(now - seconds * 1000).toISOString();
  const durable = { durable: true, verified: true, filesOnly: false };
  return [
    checkpointOf({
      id: 'k8',
      parent: 'k6',
      createdAt: at(2),
      kind: 'run',
      command: 'npm test',
      exitCode: 1,
      durationMs: 1_830,
      filesChanged: 2,
      state: { durable: false, verified: true, filesOnly: false },
    }),
    checkpointOf({ id: 'k7', parent: 'k5', createdAt: at(20), kind: 'saved', filesChanged: 1, state: durable }),
    checkpointOf({
      id: 'k6',
      parent: 'k3',
      createdAt: at(45),
      kind: 'run',
      command: "sed -i 's/v1/v2/g' *",
      exitCode: 0,
      durationMs: 14,
      filesChanged: 3,
      state: durable,
    }),
    checkpointOf({
      id: 'k5',
      parent: 'k4',
      createdAt: at(80),
      kind: 'run',
      exitCode: 0,
      durationMs: 52,
      filesChanged: 1,
      state: durable,
      command:
        'find . -name \'*.json\' -not -path \'./node_modules/*\' -exec sed -i \'s/"api_version": "v1"/"api_version": "v2"/\' {} +',
    }),
    checkpointOf({
      id: 'k4',
      parent: 'k3',
      createdAt: at(130),
      kind: 'run',
      command: 'git rebase -i main',
      exitCode: 0,
      durationMs: 900,
      filesChanged: 12,
      state: { ...durable, broken: 'the image is cut short' },
    }),
    checkpointOf({
      id: 'k3',
      parent: 'k2',
      createdAt: at(250),
      label: 'before the rewrite',
      filesChanged: 18,
      state: durable,
    }),
    checkpointOf({
      id: 'k2',
      parent: 'k1',
      createdAt: at(400),
      kind: 'run',
      command: 'npm ci',
      exitCode: 0,
      filesChanged: 1_240,
      state: durable,
    }),
    checkpointOf({
      id: 'k1',
      parent: 'k0',
      createdAt: at(500),
      kind: 'run',
      command: 'node server.js &',
      exitCode: 0,
      state: durable,
    }),
    checkpointOf({ id: 'k0', parent: null, createdAt: at(560), kind: 'root', state: durable }),
  ];
}

export function manyCheckpoints(count: number, now: number): Checkpoint[] {
  return Array.from({ length: count }, (_, i) => {
    const n = count - 1 - i;
    return checkpointOf({
      id: `k${n}`,
      parent: n === 0 ? null : `k${n - 1}`,
      createdAt: new Date(now - i * 7_000).toISOString(),
      kind: n === 0 ? 'root' : 'run',
      command: n === 0 ? null : `step ${n}`,
      exitCode: n === 0 ? null : n % 7 === 0 ? 1 : 0,
      filesChanged: n % 4,
    });
  });
}

export function makeScenario(name: ScenarioName, workspace: string, now: number): World {
  const world: World = {
    needs: OK,
    sandboxes: [],
    checkpoints: new Map(),
    branches: 10,
    screens: new Map(),
    typed: '',
    nonce: '',
    undo: null,
  };
  if (name === 'noCriu')
    world.needs = [
      {
        id: 'criu',
        title: 'CRIU',
        status: 'missing',
        detail: '3.17.1 does not start on kernel 6.18',
        remedy: 'Run the set-up: it installs one that fits.',
      },
      ...OK.slice(2),
    ];
  if (name === 'sample') {
    const api = sandboxOf({ id: 's1', name: 'api-server', workspace, current: 'k8', checkpoints: 9, canUndo: true });
    api.branches.push({ id: 'b7', role: 'fork', checkpoint: 'k5', createdAt: api.createdAt, processes: 0 });
    const docs = sandboxOf({
      id: 's2',
      name: 'docs-site',
      state: 'stopped',
      head: null,
      branches: [],
      checkpoints: 12,
    });
    world.sandboxes.push(api, docs);
    world.checkpoints.set('s1', sampleCheckpoints(now));
    world.checkpoints.set('s2', manyCheckpoints(12, now));
  }
  if (name === 'odd') {
    const step = { kind: 'run', exitCode: 0, createdAt: new Date(now).toISOString() } as const;
    world.sandboxes.push(sandboxOf({ id: 's1', name: 'odd', workspace, current: 'k3', checkpoints: 4 }));
    world.checkpoints.set('s1', [
      checkpointOf({ ...step, id: 'k3', parent: 'k2', command: 'touch more' }),
      checkpointOf({ ...step, id: 'k2', parent: 'k1', command: 'make huge', filesChanged: 1 }),
      checkpointOf({ ...step, id: 'k1', parent: 'k0', command: 'make all of it', filesChanged: ODD_FILES.length }),
      checkpointOf({ id: 'k0', parent: null, kind: 'root', createdAt: step.createdAt }),
    ]);
  }
  if (name === 'many') {
    const current = 'k9999';
    world.sandboxes.push(sandboxOf({ id: 's1', name: 'long-run', workspace, current, checkpoints: 10_000 }));
    // Long ago, so that no row is drawn anew only because time passes.
    world.checkpoints.set('s1', manyCheckpoints(10_000, now - 3 * DAY));
  }
  return world;
}
