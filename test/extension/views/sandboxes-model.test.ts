import assert from 'node:assert/strict';
import type { Change } from '../../../helper/protocol/model.ts';
import {
  branchLine,
  branchNodes,
  changeLine,
  changeNodes,
  forkNodes,
  nodeId,
  portLine,
  portsLine,
  processesLine,
  processLine,
  sandboxLine,
} from '../../../src/views/sandboxes-model.ts';
import { checkpointOf, sandboxOf } from '../scenarios.ts';

const running = sandboxOf({ id: 's1', name: 'api-server' });
const change = (path: string, more: Partial<Change> = {}): Change => ({ path, kind: 'changed', type: 'file', ...more });

describe('the sandbox tree', () => {
  it('says the state in words and by icon', () => {
    const line = sandboxLine(running, 'ready');
    assert.deepEqual([line.label, line.description, line.icon], ['api-server', 'running · 3 processes', 'vm-running']);
    const stopped = sandboxLine({ ...running, state: 'stopped', head: null, branches: [], checkpoints: 12 }, 'ready');
    assert.deepEqual([stopped.description, stopped.open], ['stopped · 12 checkpoints', 'leaf']);
    const failed = sandboxLine({ ...running, state: 'failed', problem: 'volume full' }, 'ready');
    assert.deepEqual([failed.description, failed.tone], ['failed · volume full', 'failed']);
    assert.equal(sandboxLine({ ...running, state: 'restoring' }, 'ready').icon, 'loading~spin');
  });

  it('shows what it last heard when the helper is gone, and says so', () => {
    const line = sandboxLine(running, 'waiting');
    assert.deepEqual(
      [line.description, line.context, line.icon],
      ['unreachable', 'sandbox unreachable', 'debug-disconnect'],
    );
  });

  it('lists current, forks and processes, and no standby', () => {
    const createdAt = running.createdAt;
    const branches = [
      ...running.branches,
      { id: 'b2', role: 'standby', checkpoint: 'k1', createdAt, processes: 3 } as const,
      { id: 'b3', role: 'fork', checkpoint: 'k1', createdAt, processes: 0 } as const,
    ];
    assert.deepEqual(branchNodes({ ...running, branches }).map(nodeId), [
      's1/b1/current',
      's1/b3/fork',
      's1/b1/processes',
    ]);
    const line = branchLine({ kind: 'fork', branch: 'b3' }, branches[2], undefined, undefined);
    assert.deepEqual([line.label, line.description], ['Live fork b3', 'after k1 · idle']);
  });

  it('has a line of ports where something listens', () => {
    const ports = [{ port: 3000, command: 'node server.js' }];
    assert.deepEqual(branchNodes(running, { ports }).map(nodeId), ['s1/b1/current', 's1/b1/ports', 's1/b1/processes']);
    assert.deepEqual(branchNodes(running, { ports: [] }).length, 2);
    const changes = [{ path: '/w/a', kind: 'changed', type: 'file', size: 1 }] as const;
    assert.deepEqual(forkNodes('s1', 'b7', { ports, changes }).map(nodeId), ['s1/b7/ports', 's1/b7/change/w/a']);
    assert.deepEqual(forkNodes('s1', 'b7', { ports: [] }), []);
    assert.equal(portsLine(ports, () => undefined).description, '3000');
    assert.equal(portsLine(ports, () => 3001).description, '3000 → localhost:3001');
    assert.equal(portLine(ports[0]!, () => 3000).description, '→ localhost:3000 · node server.js');
  });

  it('says after which moment, and how many files differ', () => {
    const c = checkpointOf({ id: 'k1', parent: 'k0', createdAt: running.createdAt, command: 'npm test' });
    const line = branchLine({ kind: 'current', branch: 'b1' }, running.branches[0], c, {
      changes: [change('/a'), change('/b')],
    });
    assert.equal(line.description, 'after “npm test” · 2 files changed');
  });

  it('names programs, not their paths', () => {
    const process = {
      pid: 63,
      ppid: 1,
      state: 'S',
      command: '/usr/lib/postgresql/16/bin/postgres -D data',
      rss: 21e6,
      uid: 1,
    };
    assert.deepEqual([processLine(process).label, processLine(process).description], ['postgres', '63 · 21 MB']);
    const line = processesLine(running.branches[0], {
      processes: [{ ...process, pid: 41, command: '-bash' }, process],
    });
    assert.equal(line.description, 'bash 41 · postgres 63');
    assert.equal(processesLine(running.branches[0], undefined).description, '3');
  });

  it('shows paths below the workspace short, others whole', () => {
    const line = changeLine(change('/home/me/api-server/src/a.ts', { kind: 'added' }), '/home/me/api-server');
    assert.deepEqual([line.label, line.description], ['a.ts', 'src · added']);
    assert.equal(changeLine(change('/etc/hosts'), '/home/me/api-server').description, '/etc · changed');
    assert.equal(changeLine(change('/w/b', { kind: 'renamed', from: '/w/a' }), '/w').description, 'renamed from /w/a');
  });

  it('does not list thousands of files', () => {
    const nodes = changeNodes(
      's1',
      'b1',
      Array.from({ length: 1_000 }, (_, i) => change(`/f${i}`)),
    );
    assert.equal(nodes.length, 201);
    assert.deepEqual(nodes.at(-1), { kind: 'more', sandbox: 's1', branch: 'b1', count: 800 });
  });
});
