/** Language features of run documents, asked of the client process as an editor asks. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { pathToFileURL } from 'node:url';
import {
  createMessageConnection,
  type MessageConnection,
  StreamMessageReader,
  StreamMessageWriter,
} from 'vscode-jsonrpc/node';
import type { CodeAction, CodeLens, Diagnostic, Hover, InlayHint } from 'vscode-languageserver';
import { bridge } from '../../helper/client/bridge.ts';
import { readRange } from './read-range.ts';

const RUN = `# teleport-env run 1
# sandbox: api

# %% exit 0 · 12 ms · 1 file · k1
# Write [it](command:evil) down.
echo x > README.md

# %% exit 1 · 2 s · 3 files · k2
cd src && bash -c 'rm -rf *'

# %%
if true
`;

describe('language features of run documents', () => {
  let folder: string;
  let input: PassThrough;
  let editor: MessageConnection;
  let ended: Promise<number>;
  let uri: string;
  let published: Map<string, Diagnostic[]>;
  const refreshed: string[] = [];

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'language-'));
    writeFileSync(join(folder, 'README.md'), 'x');
    const git = (...args: string[]) => execFileSync('git', args, { cwd: folder, stdio: 'ignore' });
    git('init', '-q');
    // A repository's settings run nothing.
    git('config', 'core.fsmonitor', `touch ${join(folder, 'ran')};`);
    mkdirSync(join(folder, 'src'));
    git('add', 'README.md');
    rmSync(join(folder, 'ran'), { force: true });
    uri = pathToFileURL(join(folder, 'a.teleport-env.sh')).href;
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  beforeEach(async () => {
    input = new PassThrough();
    const output = new PassThrough();
    published = new Map();
    ended = bridge(input, output, { TELEPORT_ENV_SOCKET: join(folder, 'none.sock') });
    editor = createMessageConnection(new StreamMessageReader(output), new StreamMessageWriter(input));
    editor.onNotification('textDocument/publishDiagnostics', (told: { uri: string; diagnostics: Diagnostic[] }) => {
      published.set(told.uri, told.diagnostics);
    });
    for (const feature of ['codeLens', 'inlayHint'])
      editor.onRequest(`workspace/${feature}/refresh`, () => {
        refreshed.push(feature);
        return null;
      });
    editor.listen();
    const workspaceFolders = [{ uri: pathToFileURL(folder).href, name: 'x' }];
    const { capabilities } = await editor.sendRequest<{ capabilities: Record<string, unknown> }>('initialize', {
      processId: 1,
      capabilities: {},
      workspaceFolders,
    });
    assert.ok(capabilities.codeLensProvider && capabilities.inlayHintProvider);
    await open(RUN);
  });
  afterEach(async () => {
    input.end();
    await ended;
    editor.dispose();
  });

  const textDocument = () => ({ textDocument: { uri } });
  const open = (text: string) =>
    editor.sendNotification('textDocument/didOpen', {
      textDocument: { uri, languageId: 'teleport-env-run', version: 1, text },
    });
  const lenses = () => editor.sendRequest<CodeLens[]>('textDocument/codeLens', textDocument());
  const whole = { start: { line: 0, character: 0 }, end: { line: 99, character: 0 } };

  it('offers to run to each step, to go back before it, and its changes', async () => {
    assert.deepEqual(
      (await lenses()).map(({ range, command }) => [range.start.line, command!.title, command!.arguments![0]]),
      [
        [5, 'Run to here', { uri, line: 5 }],
        [8, 'Run to here', { uri, line: 8 }],
        [8, 'Roll back to before this', { sandbox: 'api', checkpoint: 'k1' }],
        [8, 'Changes of this step', { sandbox: 'api', from: 'k1', to: 'k2' }],
        [11, 'Run to here', { uri, line: 11 }],
        [11, 'Roll back to before this', { sandbox: 'api', checkpoint: 'k2' }],
      ],
    );
  });

  it('tells in a hover how a step went, and takes nobody’s words for markup', async () => {
    const { contents } = await editor.sendRequest<Hover>('textDocument/hover', {
      ...textDocument(),
      position: { line: 5, character: 7 },
    });
    const { value } = contents as { value: string };
    assert.match(value, /^\*\*exit 0 · 12 ms · 1 file · k1\*\*\n\nWrite \\\[it\\\]/);
    assert.match(value, /Overwrites a file that git tracks\.|A rollback takes it back/);
    assert.equal(
      await editor.sendRequest('textDocument/hover', { ...textDocument(), position: { line: 1, character: 0 } }),
      null,
    );
  });

  it('points at what may destroy, inside of inner scripts too, with a way to try it', async () => {
    await lenses();
    const found = published.get(uri)!;
    assert.deepEqual(
      found.map(({ code, message, severity, range }) => [code, message, severity, readRange(RUN, range)]),
      [
        ['overwrites', 'Overwrites README.md, which git tracks.', 4, '> README.md'],
        ['recursiveDelete', 'Deletes folders with all they hold.', 4, 'rm -rf *'],
        ['broken', 'The shell may not understand this.', 3, 'if true'],
      ],
    );
    const actions = await editor.sendRequest<CodeAction[]>('textDocument/codeAction', {
      ...textDocument(),
      range: found[1]!.range,
      context: { diagnostics: [] },
    });
    assert.deepEqual(
      actions.map(({ title, command }) => [title, command!.command, command!.arguments![0].command]),
      [['Try in a fork', 'teleportEnv.tryInFork', "cd src && bash -c 'rm -rf *'"]],
    );
    assert.throws(() => readFileSync(join(folder, 'ran')), /ENOENT/);
  });

  it('follows a walk, and edits', async () => {
    const step = { line: 5, before: 'k7', after: 'k8', exitCode: 3, durationMs: 5, filesChanged: 2 };
    const stood = { line: 8, before: 'k8', after: null, exitCode: null, durationMs: null, filesChanged: null };
    await editor.sendRequest('document/stepped', { uri, sandbox: 's1', line: 8, steps: [step, stood] });
    const hints = await editor.sendRequest<InlayHint[]>('textDocument/inlayHint', { ...textDocument(), range: whole });
    assert.deepEqual(
      hints.map(({ label, position }) => [position.line, label]),
      [[5, 'exit 3 · 5 ms · 2 files · k8']],
    );
    const titles = (await lenses()).map(({ range, command }) => [range.start.line, command!.title]);
    assert.deepEqual(titles.slice(0, 5), [
      [5, 'Run to here'],
      [5, 'Roll back to before this'],
      [5, 'Changes of this step'],
      [8, 'Run to here'],
      [8, 'Roll back to before this'],
    ]);
    assert.deepEqual(refreshed.sort(), ['codeLens', 'inlayHint']);
    await editor.sendNotification('textDocument/didChange', {
      textDocument: { uri, version: 2 },
      contentChanges: [{ text: 'ls\ngit clean -fdx\n' }],
    });
    assert.equal((await lenses()).length, 2);
    assert.deepEqual(
      published.get(uri)!.map(({ code }) => code),
      ['gitClean'],
    );
    await editor.sendNotification('textDocument/didClose', textDocument());
    assert.deepEqual(await lenses(), []);
    assert.deepEqual(published.get(uri), []);
  });

  it('reads documents for whoever asks', async () => {
    const { format, steps } = await editor.sendRequest<{ format: string; steps: unknown[] }>('document/read', {
      text: 'a\nb',
    });
    assert.deepEqual([format, steps.length], ['shell', 2]);
    await assert.rejects(editor.sendRequest('document/record', { sandbox: 's1' }), /no connection/);
  });
});
