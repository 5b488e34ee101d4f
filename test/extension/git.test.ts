/** A new sandbox is set up, and its commits come home, in a real VS Code with the real helper, CRIU and git. Needs root. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Connection } from '../../helper/client/connection.ts';
import { COMMANDS, SETTINGS } from '../../src/ids.ts';
import { HelperProcess, needsMachine } from '../daemon/helper-process.ts';
import { git, newRepository } from '../git/repositories.ts';
import { type Editor, startEditor } from '../vscode/harness.ts';
import { isSetUp } from '../vscode/paths.ts';
import { stageExtension } from './stage.ts';

const COMMAND = 'echo "made once" >> made.txt\ntest -n "$PWD"';

describe('set-up and git in the editor', function () {
  this.timeout(120_000);
  let place: string;
  let folder: string;
  let helper: HelperProcess;
  let connection: Connection;
  let editor: Editor;

  before(async function () {
    needsMachine(this);
    if (!isSetUp()) this.skip();
    place = mkdtempSync(join(tmpdir(), 'te-git-'));
    folder = newRepository(join(place, 'api'));
    mkdirSync(join(folder, '.devcontainer'));
    writeFileSync(join(folder, '.devcontainer/devcontainer.json'), JSON.stringify({ postCreateCommand: COMMAND }));
    git(folder, 'add', '-A');
    git(folder, 'commit', '-qm', 'container');
    helper = await HelperProcess.start();
    connection = await helper.connect();
    editor = await startEditor({
      workspaceFolder: folder,
      developmentPath: stageExtension(place),
      env: { TELEPORT_ENV_SOCKET: helper.socket, XDG_STATE_HOME: join(place, 'state') },
      settings: { [SETTINGS.helperStart]: false },
      size: { width: 1280, height: 800 },
    });
    await editor.openContainer('Teleport Env');
  });
  after(async () => {
    await editor?.close();
    await helper?.stop();
    if (place) rmSync(place, { recursive: true, force: true });
  });
  afterEach(function () {
    if (this.currentTest?.state === 'failed') console.error(helper.logText());
  });

  const sandboxes = async () => (await connection.request('sandbox/list', {})).sandboxes;
  const labels = async (sandbox: string) =>
    (await connection.request('checkpoint/list', { sandbox })).checkpoints.map(({ label }) => label);

  it('shows the folder’s command in full, runs it when told to, once, and keeps the moment after it', async () => {
    await editor.command(COMMANDS.createSandbox);
    const question = await editor.dialog(/postCreateCommand/);
    for (const line of COMMAND.split('\n')) assert.ok(question.text.includes(line), question.text);
    await editor.screenshot('git-set-up-asks');
    assert.deepEqual(await sandboxes(), [], 'nothing is made before the answer');
    await question.click('Run it');
    await editor.treeRows('Checkpoint timeline', (rows) => rows.some((row) => /after set-up/.test(row.label)));
    const [sandbox] = await sandboxes();
    assert.deepEqual(await labels(sandbox!.id), ['after set-up', null]);
  });

  it('makes a branch of what the sandbox has, by its menu', async () => {
    const [sandbox] = await sandboxes();
    const line = 'git add made.txt; git -c user.name=A -c user.email=a@b commit -qm inside; echo more > more.txt';
    await connection.request('run', { sandbox: sandbox!.id, line });
    await editor.contextMenu('api', 'Create git branch from sandbox…', 'Sandboxes');
    await editor.answer('agent/work');
    const toast = await editor.notification(
      /Branch agent\/work: 2 new commits, the last of what was not committed inside \(1 file\)/,
      40_000,
    );
    await editor.screenshot('git-branch-made');
    await toast.close();
    assert.equal(git(folder, 'show', 'agent/work:made.txt'), 'made once\n');
    assert.equal(git(folder, 'show', 'agent/work:more.txt'), 'more\n');
    assert.equal(git(folder, 'rev-parse', '--abbrev-ref', 'HEAD'), 'main\n');
    assert.equal(readFileSync(join(folder, '.git/HEAD'), 'utf8'), 'ref: refs/heads/main\n');
    await editor.command(COMMANDS.fetchCommits);
    await (await editor.notification(/No new commits in api/)).close();
  });

  it('deletes old checkpoints after telling how many, and what it frees', async () => {
    const [sandbox] = await sandboxes();
    for (let i = 0; i < 3; i++) await connection.request('run', { sandbox: sandbox!.id, line: `echo ${i} > n` });
    await editor.command(COMMANDS.deleteOldCheckpoints);
    await editor.page
      .locator('.quick-input-list')
      .getByText(/[1-9] checkpoints? · /)
      .first()
      .waitFor();
    await editor.screenshot('git-old-checkpoints');
    await editor.pick('All that nothing needs');
    await editor.treeRows('Checkpoint timeline', (rows) => rows.length <= 3);
    assert.ok((await labels(sandbox!.id)).includes('after set-up'), 'a labelled one stays');
  });
});
