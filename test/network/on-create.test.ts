import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { AFTER_SET_UP, commandIn, plainJson, postCreateCommand } from '../../helper/client/on-create.ts';
import { cli, json } from '../cli/run-cli.ts';
import { HelperProcess, needsMachine, workspace } from '../daemon/helper-process.ts';

describe('set-up of a new sandbox', () => {
  it('reads devcontainer.json as its authors write it', () => {
    const text = `// a comment
{
  "image": "x", /* "postCreateCommand": "no" */
  "url": "https://example.test//path",
  "postCreateCommand": "npm ci && echo \\"a, }\\"", // last
}`;
    assert.equal(commandIn(text), 'npm ci && echo "a, }"');
    assert.equal(JSON.parse(plainJson('{"a": [1, 2, /* x */ ], "b": "// no, ]"}')).b, '// no, ]');
    assert.equal(commandIn('{"postCreateCommand": ["echo", "it\'s"]}'), "'echo' 'it'\\''s'");
    for (const none of [
      '{',
      '{}',
      '{"postCreateCommand": ""}',
      '{"postCreateCommand": [1]}',
      '{"postCreateCommand": {}}',
    ])
      assert.equal(commandIn(none), undefined, none);
  });

  it('runs the commands of an object side by side and fails when one does', () => {
    const line = (second: string): string =>
      commandIn(JSON.stringify({ postCreateCommand: { one: 'echo 1', two: ['sh', '-c', second] } }))!;
    assert.equal(execFileSync('bash', ['-c', line('sleep 0.1; echo 2')], { encoding: 'utf8' }), '1\n2\n');
    assert.throws(() => execFileSync('bash', ['-c', line('exit 3')]), { status: 3 });
  });

  describe('by the command line', () => {
    let helper: HelperProcess;
    const made: string[] = [];

    before(async function () {
      needsMachine(this);
      helper = await HelperProcess.start();
    });
    after(async () => {
      await helper?.stop();
      for (const dir of made) rmSync(dir, { recursive: true, force: true });
    });

    async function up(ws: string, ...words: string[]) {
      made.push(ws);
      const env = { TELEPORT_ENV_SOCKET: helper.socket, PATH: process.env.PATH };
      return await cli(null, ['up', '--workspace', ws, '--json', ...words], { env });
    }

    it('runs once and ends in a checkpoint of its own', async () => {
      const ws = workspace({});
      const first = json(await up(ws, '--on-create', 'echo made >> made'));
      assert.equal(first.created, true);
      assert.equal(first.setUp.exitCode, 0);
      const connection = await helper.connect();
      const { checkpoints } = await connection.request('checkpoint/list', { sandbox: first.sandbox });
      assert.deepEqual(
        checkpoints.map((c) => c.label),
        [AFTER_SET_UP, null],
      );
      const again = json(await up(ws, '--on-create', 'echo made >> made'));
      assert.equal(again.created, false);
      const path = `${ws}/made`;
      const { data } = await connection.request('file/read', {
        sandbox: first.sandbox,
        at: first.setUp.checkpoint,
        path,
      });
      assert.equal(Buffer.from(data, 'base64').toString(), 'made\n');
    });

    it("takes devcontainer.json's, and tells a failure by its exit code", async () => {
      const ws = workspace({});
      mkdirSync(join(ws, '.devcontainer'));
      writeFileSync(join(ws, '.devcontainer/devcontainer.json'), '{ "postCreateCommand": "exit 7", }');
      assert.equal(await postCreateCommand(ws), 'exit 7');
      const ran = await up(ws, '--memory', '500M', '--on-create');
      assert.equal(ran.code, 7);
      const { sandbox } = json(ran);
      const connection = await helper.connect();
      const told = await connection.request('sandbox/get', { sandbox });
      assert.equal(told.sandbox.limits?.memory, 500_000_000);
      const none = await up(workspace({}), '--on-create');
      assert.equal(none.code, 1);
    });
  });
});
