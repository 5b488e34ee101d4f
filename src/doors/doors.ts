import {
  commands,
  type DebugAdapterDescriptorFactory,
  type DebugConfigurationProvider,
  Disposable,
  debug,
  type FileSystemProvider,
  type LanguageModelTool,
  lm,
  type TaskProvider,
  type TerminalProfileProvider,
  type TreeDataProvider,
  tasks,
  window,
  workspace,
} from 'vscode';
import type { Instance } from '../connection/multipass/outputs.ts';
import {
  AGENT_TOOLS,
  type AgentTool,
  COMMANDS,
  type CommandId,
  SCHEME,
  TASK_TYPE,
  TERMINAL_PROFILE,
  VIEWS,
} from '../ids.ts';
import { DEBUG_TYPE } from '../stepping/ids.ts';
import type { Node } from '../views/sandboxes-model.ts';
import type { Element } from '../views/timeline-rows.ts';
import { Door } from './door.ts';

/** What a command, a task or an agent does; what it throws is its own matter. */
export interface Act {
  run(...given: unknown[]): unknown;
}

export type Doors = ReturnType<typeof openDoors>;

/** All by which VS Code may call before anything else of ours is loaded. What it only hears of later is no door. */
export function openDoors(load: () => Promise<unknown>) {
  const each = <K extends string, T extends object>(keys: readonly K[]) =>
    Object.fromEntries(keys.map((key) => [key, new Door<T>(load)])) as Record<K, Door<T>>;
  const acts = each<CommandId, Act>(Object.values(COMMANDS));
  const tools = each<AgentTool, LanguageModelTool<unknown>>(AGENT_TOOLS);
  const profile = new Door<TerminalProfileProvider>(load);
  const files = new Door<FileSystemProvider>(load);
  const taskRuns = new Door<TaskProvider>(load);
  const adapter = new Door<DebugAdapterDescriptorFactory>(load);
  const configuration = new Door<DebugConfigurationProvider>(load);
  const tree = <T>(id: string, more: readonly 'resolveTreeItem'[] = [], showCollapseAll = false) => {
    const door = new Door<TreeDataProvider<T>>(load);
    const asked = ['getChildren', 'getTreeItem', 'getParent', ...more] as const;
    const treeDataProvider = door.standIn(asked, ['onDidChangeTreeData']);
    return { door, view: window.createTreeView<T>(id, { treeDataProvider, showCollapseAll }) };
  };
  const sandboxes = tree<Node>(VIEWS.sandboxes, [], true);
  const timeline = tree<Element>(VIEWS.timeline, ['resolveTreeItem']);
  const machine = tree<Instance>(VIEWS.machine);

  const fileMethods = [
    'stat',
    'readDirectory',
    'readFile',
    'createDirectory',
    'writeFile',
    'delete',
    'rename',
  ] as const;
  const all = Disposable.from(
    ...Object.entries(acts).map(([id, act]) => commands.registerCommand(id, act.standIn(['run']).run)),
    ...[sandboxes, timeline, machine].map(({ view }) => view),
    window.registerTerminalProfileProvider(TERMINAL_PROFILE, profile.standIn(['provideTerminalProfile'])),
    workspace.registerFileSystemProvider(SCHEME, files.standIn(fileMethods, ['watch', 'onDidChangeFile']), {
      isCaseSensitive: true,
    }),
    // Nobody can guess what is to be run: nothing is provided.
    tasks.registerTaskProvider(TASK_TYPE, { ...taskRuns.standIn(['resolveTask']), provideTasks: () => [] }),
    debug.registerDebugAdapterDescriptorFactory(DEBUG_TYPE, adapter.standIn(['createDebugAdapterDescriptor'])),
    debug.registerDebugConfigurationProvider(DEBUG_TYPE, configuration.standIn(['resolveDebugConfiguration'])),
    // Editors built on VS Code may lack them.
    ...(typeof lm?.registerTool === 'function' ? Object.entries(tools) : []).map(([name, tool]) =>
      lm.registerTool(`teleport_env_${name}`, tool.standIn(['prepareInvocation', 'invoke'])),
    ),
  );
  return {
    acts,
    tools,
    profile,
    files,
    tasks: taskRuns,
    adapter,
    configuration,
    sandboxes,
    timeline,
    machine,
    dispose: () => all.dispose(),
  };
}
