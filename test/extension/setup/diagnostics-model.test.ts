import assert from 'node:assert/strict';
import { diagnostics } from '../../../src/setup/diagnostics-model.ts';
import { sandboxOf } from '../scenarios.ts';

describe('diagnostics', () => {
  const machine = { platform: 'linux', packaging: 'none', container: 'none' } as const;
  const base = {
    extension: '0.1.0',
    editor: 'VS Code 1.139',
    remote: 'ssh-remote',
    machine,
    system: 'Linux 6.18 x64',
    place: 'native',
    trouble: [],
    names: ['secret-project'],
  };

  it('hold what helps and nothing private', () => {
    const needs = [{ id: 'criu', title: 'CRIU', status: 'ok', detail: '4.2.1 | fine' } as const];
    const handshake = { protocolVersion: 1, helperVersion: '0.1.0', pid: 1, uid: 1, needs };
    const sandbox = sandboxOf({ id: 's1', name: 'secret-project', workspace: '/home/me/secret-project' });
    const trouble = ['2026-11-26T22:00:00.123Z [error] secret-project stopped: /home/me/secret.txt is full'];
    const text = diagnostics({ ...base, connection: { kind: 'ready', handshake }, sandboxes: [sandbox], trouble });
    assert.match(text, /\| CRIU \| ok \| 4\.2\.1 \\\| fine \|/);
    assert.match(text, /s1 running, 1 checkpoints/);
    assert.match(text, /^- Machine: Linux 6\.18 x64, packaging none, container none$/m);
    assert.match(text, /\[error\] … stopped: … is full$/m);
    assert.doesNotMatch(text, /secret/);
  });

  it('say why there is no connection', () => {
    const problem = { reason: 'helperOld', message: 'too old' } as const;
    const text = diagnostics({ ...base, connection: { kind: 'blocked', problem }, sandboxes: [] });
    assert.match(text, /blocked: helperOld: too old/);
    assert.match(text, /Warnings and errors:\n\nnone\n$/);
  });
});
