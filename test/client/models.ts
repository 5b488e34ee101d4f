import type { Checkpoint, Sandbox } from '../../helper/protocol/model.ts';

export function aSandbox(more: Partial<Sandbox> = {}): Sandbox {
  return {
    id: 's1',
    name: 'api',
    workspace: '/work/api',
    owner: 0,
    state: 'running',
    network: 'none',
    createdAt: '2026-11-20T10:00:00.000Z',
    head: 'b2',
    current: 'k3',
    branches: [{ id: 'b2', role: 'head', checkpoint: 'k3', createdAt: '2026-11-20T10:00:00.000Z', processes: 3 }],
    checkpoints: 4,
    canUndo: false,
    ...more,
  };
}

export function aCheckpoint(id: string, more: Partial<Checkpoint> = {}): Checkpoint {
  const number = Number(id.slice(1));
  return {
    id,
    parent: number === 0 ? null : `k${number - 1}`,
    kind: number === 0 ? 'root' : 'explicit',
    label: null,
    command: null,
    exitCode: null,
    durationMs: null,
    createdAt: '2026-11-20T10:00:00.000Z',
    filesChanged: 0,
    bytes: 1000,
    processes: 1,
    stoppedMs: 13,
    totalMs: 40,
    state: { durable: true, verified: true, filesOnly: false },
    note: null,
    ...more,
  };
}
