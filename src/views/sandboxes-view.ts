import {
  Disposable,
  EventEmitter,
  ThemeColor,
  ThemeIcon,
  type TreeDataProvider,
  TreeItem,
  TreeItemCollapsibleState,
} from 'vscode';
import type { App, Feature } from '../app.ts';
import { COMMANDS } from '../ids.ts';
import { t } from '../l10n.ts';
import {
  branchLine,
  branchNodes,
  changeLine,
  changeNodes,
  forkNodes,
  type Line,
  type Node,
  nodeId,
  portLine,
  portsLine,
  processesLine,
  processLine,
  sandboxLine,
} from './sandboxes-model.ts';

class SandboxTree implements TreeDataProvider<Node>, Disposable {
  private readonly changed = new EventEmitter<Node | Node[] | undefined>();
  readonly onDidChangeTreeData = this.changed.event;
  /** One object per node, so that a single line can be redrawn. */
  private readonly nodes = new Map<string, Node>();

  /** Branches that have a line of ports. */
  private readonly listening = new Set<string>();

  constructor(private readonly app: App) {}

  refreshAll(): void {
    this.changed.fire(undefined);
  }

  refreshSandbox(sandbox: string): void {
    const node = this.nodes.get(sandbox);
    if (node) this.changed.fire(node);
  }

  refreshBranch(sandbox: string, branch: string): void {
    const kinds = ['current', 'fork', 'ports', 'processes'].map((kind) =>
      this.nodes.get(`${sandbox}/${branch}/${kind}`),
    );
    const found = kinds.filter((node) => node !== undefined);
    // Ports come and go as a line of their own.
    const listens = (this.app.details.get(sandbox, branch)?.ports?.length ?? 0) > 0;
    if (listens !== this.listening.has(`${sandbox}/${branch}`)) {
      if (listens) this.listening.add(`${sandbox}/${branch}`);
      else this.listening.delete(`${sandbox}/${branch}`);
      this.refreshSandbox(sandbox);
    } else if (found.length > 0) this.changed.fire(found);
  }

  getTreeItem(node: Node): TreeItem {
    const line = this.lineOf(node);
    const item = new TreeItem(line.label, COLLAPSIBLE[line.open]);
    item.id = nodeId(node);
    item.description = line.description;
    item.iconPath = new ThemeIcon(line.icon, colourOf(line.tone));
    item.contextValue = line.context;
    item.accessibilityInformation = { label: line.spoken };
    if (line.tooltip) item.tooltip = line.tooltip;
    if (node.kind === 'change')
      item.command = { command: COMMANDS.showFileChange, title: t('Show changes'), arguments: [node] };
    if (node.kind === 'more')
      item.command = { command: COMMANDS.showChanges, title: t('Show changes'), arguments: [node] };
    return item;
  }

  async getChildren(node?: Node): Promise<Node[]> {
    const { store, details } = this.app;
    if (!node) return this.same(store.sandboxes.map(({ id }) => ({ kind: 'sandbox', sandbox: id })));
    const sandbox = store.sandbox(node.sandbox);
    if (!sandbox) return [];
    switch (node.kind) {
      case 'sandbox':
        for (const branch of sandbox.branches)
          if (branch.role !== 'standby') void details.want(sandbox.id, branch.id, 'changes');
        if (sandbox.head !== null) void details.want(sandbox.id, sandbox.head, 'ports');
        return this.same(
          branchNodes(sandbox, sandbox.head === null ? undefined : details.get(sandbox.id, sandbox.head)),
        );
      case 'fork': {
        const all = ['changes', 'ports'] as const;
        await Promise.all(all.map((what) => details.want(sandbox.id, node.branch, what)));
        return this.same(forkNodes(sandbox.id, node.branch, details.get(sandbox.id, node.branch)));
      }
      case 'current':
        await details.want(sandbox.id, node.branch, 'changes');
        return this.same(changeNodes(sandbox.id, node.branch, details.get(sandbox.id, node.branch)?.changes ?? []));
      case 'ports': {
        const all = details.get(sandbox.id, node.branch)?.ports ?? [];
        return this.same(all.map(({ port }) => ({ kind: 'port', sandbox: sandbox.id, branch: node.branch, port })));
      }
      case 'processes': {
        await details.want(sandbox.id, node.branch, 'processes');
        const all = details.get(sandbox.id, node.branch)?.processes ?? [];
        return this.same(all.map(({ pid }) => ({ kind: 'process', sandbox: sandbox.id, branch: node.branch, pid })));
      }
      default:
        return [];
    }
  }

  getParent(node: Node): Node | undefined {
    return node.kind === 'sandbox' ? undefined : this.nodes.get(node.sandbox);
  }

  dispose(): void {
    this.changed.dispose();
  }

  private same(nodes: Node[]): Node[] {
    return nodes.map((node) => {
      const id = nodeId(node);
      const known = this.nodes.get(id);
      // The rest of a long list counts: its number is part of it.
      if (known && node.kind !== 'more') return known;
      this.nodes.set(id, node);
      return node;
    });
  }

  private lineOf(node: Node): Line {
    const { store, details, helper } = this.app;
    const sandbox = store.sandbox(node.sandbox);
    if (!sandbox) return GONE;
    if (node.kind === 'sandbox') return sandboxLine(sandbox, helper.state.kind);
    const known = details.get(sandbox.id, node.branch);
    const branch = sandbox.branches.find((b) => b.id === node.branch);
    switch (node.kind) {
      case 'current':
      case 'fork':
        return branchLine(node, branch, branch && store.checkpoint(sandbox.id, branch.checkpoint), known);
      case 'ports':
        return portsLine(known?.ports ?? [], (port) => details.forward(sandbox.id, node.branch, port));
      case 'port': {
        const found = known?.ports?.find((p) => p.port === node.port);
        return found ? portLine(found, (port) => details.forward(sandbox.id, node.branch, port)) : GONE;
      }
      case 'processes':
        return processesLine(branch, known);
      case 'process': {
        const process = known?.processes?.find((p) => p.pid === node.pid);
        return process ? processLine(process) : GONE;
      }
      case 'change': {
        const change = known?.changes?.find((c) => c.path === node.path);
        return change ? changeLine(change, sandbox.workspace) : GONE;
      }
      case 'more': {
        const label = t('{0} more…', node.count);
        return { ...GONE, label, icon: 'ellipsis', spoken: label };
      }
    }
  }
}

const GONE: Line = {
  label: '',
  description: '',
  icon: 'blank',
  tone: 'quiet',
  context: 'gone',
  spoken: '',
  open: 'leaf',
};

const COLLAPSIBLE = {
  closed: TreeItemCollapsibleState.Collapsed,
  open: TreeItemCollapsibleState.Expanded,
  leaf: TreeItemCollapsibleState.None,
};

function colourOf(tone: Line['tone']): ThemeColor | undefined {
  switch (tone) {
    case 'running':
      return new ThemeColor('charts.green');
    case 'failed':
      return new ThemeColor('list.errorForeground');
    default:
      return undefined;
  }
}

export const sandboxesView: Feature = (app) => {
  const { store, details, helper } = app;
  const tree = new SandboxTree(app);
  const { door, view } = app.doors.sandboxes;
  const glance = () => {
    if (view.visible) helper.glance();
  };
  glance();
  return Disposable.from(
    tree,
    door.leadsTo(tree),
    helper.onDidChangeState(() => tree.refreshAll()),
    store.onDidChange((change) => {
      if (change.kind === 'sandboxes') tree.refreshAll();
      else if (change.kind === 'sandbox' || change.kind === 'timeline') tree.refreshSandbox(change.sandbox);
    }),
    details.onDidChange(({ sandbox, branch }) => tree.refreshBranch(sandbox, branch)),
    helper.onNotification('ports/changed', ({ sandbox, branch, ports }) => details.setPorts(sandbox, branch, ports)),
    view.onDidChangeVisibility(glance),
    // The timeline follows what is selected here.
    view.onDidChangeSelection(({ selection: [node] }) => {
      if (node) store.show(node.sandbox);
    }),
  );
};
