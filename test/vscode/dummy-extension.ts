// An extension that does a little of everything the harness can touch, for the harness's own test.

import { execFile } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { repository } from './paths.ts';

const manifest = {
  name: 'dummy',
  displayName: 'Dummy',
  description: 'Exercises the test harness',
  publisher: 'harness',
  version: '0.0.1',
  license: 'MIT',
  engines: { vscode: '^1.100.0' },
  main: './main.js',
  activationEvents: ['onStartupFinished', 'onTerminalProfile:harness.profile'],
  contributes: {
    commands: [
      { command: 'harness.greet', title: 'Greet', category: 'Harness' },
      { command: 'harness.ask', title: 'Ask First', category: 'Harness' },
      { command: 'harness.choose', title: 'Choose Something', category: 'Harness' },
      { command: 'harness.touch', title: 'Touch', icon: '$(debug-reverse-continue)' },
    ],
    viewsContainers: { activitybar: [{ id: 'harness', title: 'Harness Things', icon: 'icon.svg' }] },
    views: {
      harness: [
        { id: 'harness.things', name: 'Things' },
        { id: 'harness.empty', name: 'Empty shelf' },
      ],
    },
    viewsWelcome: [{ view: 'harness.empty', contents: 'Nothing here yet.\n[Fill it](command:harness.greet)' }],
    menus: {
      'view/item/context': [
        { command: 'harness.touch', when: 'view == harness.things', group: 'inline' },
        { command: 'harness.touch', when: 'view == harness.things', group: '1_touch' },
      ],
      commandPalette: [{ command: 'harness.touch', when: 'false' }],
    },
    terminal: { profiles: [{ id: 'harness.profile', title: 'Harness Terminal', icon: 'beaker' }] },
  },
};

const main = `
const vscode = require('vscode')
exports.activate = context => {
  const changed = new vscode.EventEmitter()
  const touched = new Set()
  const item = (label, more = {}) => ({ label, ...more })
  const tree = vscode.window.createTreeView('harness.things', {
    treeDataProvider: {
      onDidChangeTreeData: changed.event,
      getChildren: parent => parent === undefined
        ? [...Array(60)].map((_, i) => 'thing ' + (i + 1))
        : [parent + ' child'],
      getTreeItem: name => ({
        label: name,
        description: touched.has(name) ? 'touched' : '',
        iconPath: new vscode.ThemeIcon('history'),
        collapsibleState: name === 'thing 1' ? 1 : 0
      })
    }
  })
  tree.description = 'of the dummy'
  const status = vscode.window.createStatusBarItem(vscode.StatusBarAlignment.Left)
  status.text = '$(beaker) dummy ready ' + (process.env.HARNESS_VARIABLE ?? '')
  status.show()
  const register = (name, run) => context.subscriptions.push(vscode.commands.registerCommand(name, run))
  register('harness.greet', async () => {
    const answer = await vscode.window.showInformationMessage('Hello from the dummy', 'Wave', 'Ignore')
    if (answer) vscode.window.showInformationMessage('You chose ' + answer)
  })
  register('harness.ask', async () => {
    const answer = await vscode.window.showWarningMessage('Really?', { modal: true }, 'Yes')
    vscode.window.showInformationMessage('Answer: ' + answer)
  })
  register('harness.choose', async () => {
    const fruit = await vscode.window.showQuickPick(['apple', 'pear'])
    const count = await vscode.window.showInputBox({ prompt: 'How many?' })
    vscode.window.showInformationMessage('Chosen: ' + count + ' ' + fruit)
  })
  register('harness.touch', name => { touched.add(name); changed.fire() })
  context.subscriptions.push(vscode.window.registerTerminalProfileProvider('harness.profile', {
    provideTerminalProfile: () => new vscode.TerminalProfile({ name: 'Harness', shellPath: '/bin/sh', env: { PS1: 'harness> ' } })
  }))
  console.log('the dummy is active')
  return { variable: process.env.HARNESS_VARIABLE }
}
`;

const icon =
  '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><path fill="currentColor" d="M4 4h16v16H4z"/></svg>';

/** Writes the extension's folder, and a package of it. */
export async function makeDummyExtension(parent: string): Promise<{ folder: string; vsix: string }> {
  const folder = join(parent, 'dummy');
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), JSON.stringify(manifest, undefined, 2));
  writeFileSync(join(folder, 'main.js'), main);
  writeFileSync(join(folder, 'icon.svg'), icon);
  writeFileSync(join(folder, 'README.md'), '# Dummy\n');
  writeFileSync(join(folder, 'LICENSE'), 'MIT\n');
  const vsix = join(parent, 'dummy.vsix');
  const vsce = join(repository, 'node_modules', '.bin', 'vsce');
  const options = ['package', '--out', vsix, '--no-dependencies', '--allow-missing-repository'];
  await promisify(execFile)(vsce, options, { cwd: folder });
  return { folder, vsix };
}
