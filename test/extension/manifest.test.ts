import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  COMMANDS,
  CONTAINER,
  CONTEXT_KEYS,
  SCHEME,
  SETTINGS,
  TERMINAL_PROFILE,
  VIEWS,
  WALKTHROUGH,
} from '../../src/ids.ts';

const root = join(__dirname, '..', '..');
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const nls: Record<string, string> = JSON.parse(readFileSync(join(root, 'package.nls.json'), 'utf8'));
const { contributes } = manifest;
const text = JSON.stringify(manifest);

function sources(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory() ? sources(join(folder, entry.name)) : [readFileSync(join(folder, entry.name), 'utf8')],
  );
}
const code = sources(join(root, 'src'));

const same = (a: Iterable<string>, b: Iterable<string>) =>
  assert.deepEqual([...new Set(a)].sort(), [...new Set(b)].sort());

describe('the manifest and the code', () => {
  it('have the same commands', () => {
    same(
      contributes.commands.map((c: { command: string }) => c.command),
      Object.values(COMMANDS),
    );
  });

  it('have a handler for each command', () => {
    for (const name of Object.keys(COMMANDS))
      assert.ok(
        code.some((source) => source.includes(`[COMMANDS.${name}]:`)),
        `nobody handles ${name}`,
      );
  });

  it('have the same views, container, profile and walkthrough', () => {
    same(
      contributes.views[CONTAINER].map((v: { id: string }) => v.id),
      Object.values(VIEWS),
    );
    same(
      contributes.viewsContainers.activitybar.map((c: { id: string }) => c.id),
      [CONTAINER],
    );
    same(
      contributes.terminal.profiles.map((p: { id: string }) => p.id),
      [TERMINAL_PROFILE],
    );
    same(
      contributes.walkthroughs.map((w: { id: string }) => w.id),
      [WALKTHROUGH],
    );
    assert.ok(manifest.activationEvents.includes(`onFileSystem:${SCHEME}`));
  });

  it('have the same settings', () => {
    const contributed = contributes.configuration.flatMap((c: { properties: object }) => Object.keys(c.properties));
    same(contributed, Object.values(SETTINGS));
  });

  it('use the same context keys', () => {
    const own = new Set<string>([...Object.values(COMMANDS), ...Object.values(VIEWS), ...Object.values(SETTINGS)]);
    const ids = [...text.matchAll(/teleportEnv\.\w+(?:\.\w+)?/g)].map((m) => m[0]);
    const other = ids.filter((id) => ![...own].some((known) => id === known || id.startsWith(`${known}.`)));
    same(
      other.filter((id) => id !== TERMINAL_PROFILE && id !== WALKTHROUGH),
      Object.values(CONTEXT_KEYS),
    );
  });

  it('say each text once, in the file that is translated', () => {
    const used = [...text.matchAll(/%([\w.]+)%/g)].map((m) => m[1]!);
    same(used, Object.keys(nls));
    for (const command of contributes.commands) assert.match(command.title, /^%.*%$/);
  });

  it('never say a bare "Teleport"', () => {
    const all = [...Object.values(nls), manifest.displayName, manifest.description, ...code].join('\n');
    assert.doesNotMatch(all.replace(/TeleportEnv|TeleportError|__teleport/g, ''), /\bTeleport\b(?! Env)/);
  });

  it('let no workspace change what runs as root or what enters a sandbox', () => {
    const free = new Set<string>([
      SETTINGS.onCreate, // a folder's own is shown, and asked about
      SETTINGS.exclude,
      SETTINGS.askAbove,
      SETTINGS.checkpointCommands,
      SETTINGS.decorations,
      SETTINGS.trace,
    ]);
    for (const { properties } of contributes.configuration)
      for (const [id, { scope }] of Object.entries<{ scope: string }>(properties))
        assert.equal(scope, free.has(id) ? 'window' : 'machine', id);
  });

  it('run nothing in a folder that is not trusted', () => {
    const enablement = new Map(
      contributes.commands.map((c: { command: string; enablement?: string }) => [c.command, c.enablement ?? '']),
    );
    for (const name of [
      'createSandbox',
      'startSandbox',
      'openTerminal',
      'checkpoint',
      'rollback',
      'undoRollback',
      'fork',
      'makeCurrent',
      'apply',
    ] as const)
      assert.match(String(enablement.get(COMMANDS[name])), /isWorkspaceTrusted/, name);
  });

  it('have a welcome for every situation, with a way on', () => {
    const source = readFileSync(join(root, 'src/setup/situation.ts'), 'utf8');
    const union = source.slice(source.indexOf('export type Situation'), source.indexOf('export interface Facts'));
    const situations = [...union.matchAll(/\| '(\w+)'/g)].map((m) => m[1]!).filter((s) => s !== 'ready');
    assert.ok(situations.length > 8);
    for (const situation of situations) {
      const welcome = contributes.viewsWelcome.find(
        (w: { view: string; when: string }) =>
          w.view === VIEWS.sandboxes && w.when.split(' && ')[0] === `teleportEnv.situation == ${situation}`,
      );
      assert.ok(welcome, situation);
      const words = nls[welcome.contents.slice(1, -1)]!;
      if (situation !== 'connecting') assert.match(words, /\]\(command:/, situation);
    }
  });

  it('name only commands and files that there are', () => {
    const ids = new Set<string>(Object.values(COMMANDS));
    for (const words of Object.values(nls))
      for (const [, id] of words.matchAll(/\(command:(teleportEnv\.\w+)/g))
        assert.ok(ids.has(id!) || id === 'teleportEnv.timeline', id);
    for (const [menu, items] of Object.entries<{ command: string }[]>(contributes.menus))
      for (const { command } of items) assert.ok(ids.has(command), `${menu}: ${command}`);
    for (const { command } of contributes.keybindings) assert.ok(ids.has(command), command);
    for (const [, file] of text.matchAll(/"(media\/[^"]+)"/g)) assert.ok(existsSync(join(root, file!)), file);
  });

  it('translate plain texts only', () => {
    for (const source of code) assert.doesNotMatch(source, /\bt\(`/);
  });
});
