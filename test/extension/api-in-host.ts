/** Runs inside the extension host, as another extension would: what `activate` returned to it. */
import assert from 'node:assert/strict';
import * as vscode from 'vscode';
import type { TeleportEnvApi } from '../../src/api.ts';

describe('the API for other extensions', () => {
  it('lists, checkpoints, goes back, undoes, forks and runs, and tells of changes', async () => {
    const api: TeleportEnvApi = await vscode.extensions.getExtension('teleport-env.teleport-env')!.activate();
    assert.equal(api.version, 1);
    await vscode.commands.executeCommand('teleportEnv.reconnect');
    await vscode.commands.executeCommand('teleportEnv.refresh');
    assert.ok(api.sandboxes.some(({ name }) => name === 'api-server'));
    const { id } = api.sandboxes.find(({ name }) => name === 'api-server')!;
    let heard = 0;
    const listening = api.onDidChange(() => heard++);
    const made = await api.checkpoint(id, 'by another extension');
    assert.equal(made.label, 'by another extension');
    const [newest, ...rest] = await api.checkpoints(id, 2);
    assert.deepEqual([newest!.id, rest.length], [made.id, 1]);
    assert.ok(heard > 0);
    listening.dispose();
    const moved = await api.rollback(id, 'k3');
    assert.equal(moved.checkpoint, 'k3');
    assert.equal((await api.undo(id)).checkpoint, moved.saved);
    assert.match(await api.fork(id, 'k3'), /^b\d+$/);
    const ran = await api.run(id, 'echo hello');
    assert.deepEqual([ran.exitCode, ran.checkpoint?.command], [0, 'echo hello']);
    await assert.rejects(api.rollback(id, 'k999'), /there is no checkpoint k999/);
  });
});
