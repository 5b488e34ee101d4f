import {
  type Command,
  Disposable,
  EventEmitter,
  MarkdownString,
  ThemeColor,
  ThemeIcon,
  type TreeDataProvider,
  TreeItem,
  TreeItemCollapsibleState,
  Uri,
  window,
} from 'vscode';
import type { App, Feature } from '../app.ts';
import { COMMANDS, ENTRY_SCHEME, VIEWS } from '../ids.ts';
import { t } from '../l10n.ts';
import { register } from '../register.ts';
import type { Entry } from './selection.ts';
import { type Filter, hover, type Tone } from './timeline-model.ts';
import { type Element, type Older, TimelineRows } from './timeline-rows.ts';

export const FIRST_PAGE = 200;
const NEXT_PAGE = 1_000;
/** Relative times move on. */
const TICK_MS = 10_000;

class TimelineTree implements TreeDataProvider<Element>, Disposable {
  private readonly changed = new EventEmitter<Element[] | undefined>();
  readonly onDidChangeTreeData = this.changed.event;
  private readonly rows = new TimelineRows();

  constructor(private readonly app: App) {
    this.rows.update(app.store, app.selection, Date.now());
  }

  get entries(): Entry[] {
    return this.rows.entries;
  }

  refresh(): void {
    const { store, selection } = this.app;
    const changed = this.rows.update(store, selection, Date.now());
    if (changed === 'list') this.changed.fire(undefined);
    else if (changed.length > 0) this.changed.fire(changed);
  }

  getTreeItem(element: Element): TreeItem {
    if (element.kind === 'older') return olderItem(element);
    const row = this.rows.row(element);
    const item = new TreeItem(row?.label ?? element.id, TreeItemCollapsibleState.None);
    item.id = `${element.sandbox}/${element.id}`;
    if (!row) return item;
    item.description = row.description;
    item.iconPath = new ThemeIcon(row.icon, colourOf(row.tone));
    item.contextValue = row.context;
    item.accessibilityInformation = { label: row.spoken };
    if (row.tone === 'aside')
      item.resourceUri = Uri.from({ scheme: ENTRY_SCHEME, path: `/${element.id}`, query: row.tone });
    item.command = showChangesOf(element);
    return item;
  }

  resolveTreeItem(item: TreeItem, element: Element): TreeItem {
    if (element.kind === 'older') return item;
    const checkpoint = this.app.store.checkpoint(element.sandbox, element.id);
    if (checkpoint) {
      const text = new MarkdownString(hover(checkpoint, new Date(checkpoint.createdAt).toLocaleString()), true);
      text.isTrusted = false;
      item.tooltip = text;
    }
    return item;
  }

  getChildren(element?: Element): Element[] {
    return element ? [] : this.rows.elements;
  }

  getParent(): undefined {
    return undefined;
  }

  dispose(): void {
    this.changed.dispose();
  }
}

function colourOf(tone: Tone): ThemeColor | undefined {
  switch (tone) {
    case 'current':
      return new ThemeColor('charts.green');
    case 'failed':
      return new ThemeColor('list.warningForeground');
    case 'broken':
      return new ThemeColor('list.errorForeground');
    case 'aside':
      return new ThemeColor('descriptionForeground');
    case 'plain':
      return undefined;
  }
}

function showChangesOf(entry: Entry): Command {
  return { command: COMMANDS.showChanges, title: t('Show changes'), arguments: [entry] };
}

function olderItem(element: Older): TreeItem {
  const item = new TreeItem(t('Show older'), TreeItemCollapsibleState.None);
  item.id = `${element.sandbox}/older`;
  item.iconPath = new ThemeIcon('ellipsis');
  item.command = { command: COMMANDS.showOlder, title: t('Show older'), arguments: [element] };
  item.contextValue = 'older';
  return item;
}

function filterWords(filter: Filter): string {
  switch (filter.kind) {
    case 'commands':
      return t('Only commands');
    case 'labelled':
      return t('Only labelled entries');
    case 'failed':
      return t('Only failures');
    case 'changed':
      return t('Only entries that changed files');
    case 'text':
      return t('Only entries with “{0}”', filter.text);
  }
}

export const timelineView: Feature = (app) => {
  const { store, selection } = app;
  const tree = new TimelineTree(app);
  const { door, view } = app.doors.timeline;
  const head = () => {
    const { filter } = selection;
    const name = store.shown?.name ?? '';
    const message = filter && store.shown ? t('{0}: {1} shown', filterWords(filter), tree.entries.length) : '';
    // Setting a message, even the same, uses up the one time in a fifth of a second that VS Code draws a view at once.
    if (view.description !== name) view.description = name;
    if (view.message !== message) view.message = message;
  };
  const refresh = () => {
    tree.refresh();
    head();
  };
  let timer: NodeJS.Timeout | undefined;
  const seen = () => {
    clearInterval(timer);
    timer = view.visible ? setInterval(() => tree.refresh(), TICK_MS) : undefined;
    if (view.visible) app.helper.glance();
  };
  head();
  seen();

  const step = async (by: 1 | -1) => {
    const entries = tree.entries;
    if (entries.length === 0) return;
    const at = entries.findIndex((e) => e.id === selection.entry?.id);
    const to = entries[Math.min(entries.length - 1, Math.max(0, at < 0 ? 0 : at + by))]!;
    await view.reveal(to, { select: true, focus: true });
  };

  return Disposable.from(
    tree,
    door.leadsTo(tree),
    store.onDidChange(refresh),
    selection.onDidChange(refresh),
    view.onDidChangeVisibility(seen),
    view.onDidChangeSelection(({ selection: [chosen] }) => {
      selection.entry = chosen?.kind === 'entry' ? chosen : undefined;
    }),
    { dispose: () => clearInterval(timer) },
    register(app, {
      [COMMANDS.showOlder]: async () => {
        const sandbox = store.shown;
        const oldest = sandbox && store.timeline(sandbox.id)?.checkpoints.at(-1);
        if (!oldest) return;
        const page = { sandbox: sandbox.id, before: oldest.id as never, limit: NEXT_PAGE };
        const { checkpoints, more } = await window.withProgress({ location: { viewId: VIEWS.timeline } }, () =>
          app.helper.ask('checkpoint/list', page),
        );
        store.addOlder(sandbox.id, checkpoints, more);
      },
      [COMMANDS.filterTimeline]: () => chooseFilter(app),
      [COMMANDS.clearFilter]: () => {
        selection.filter = undefined;
      },
      [COMMANDS.nextEntry]: () => step(1),
      [COMMANDS.previousEntry]: () => step(-1),
    }),
  );
};

async function chooseFilter(app: App): Promise<void> {
  const items: { label: string; filter: Filter | 'text' | undefined }[] = [
    { label: t('All entries'), filter: undefined },
    { label: t('Only commands'), filter: { kind: 'commands' } },
    { label: t('Only labelled entries'), filter: { kind: 'labelled' } },
    { label: t('Only failures'), filter: { kind: 'failed' } },
    { label: t('Only entries that changed files'), filter: { kind: 'changed' } },
    { label: t('With a text…'), filter: 'text' },
  ];
  const chosen = await window.showQuickPick(items, { placeHolder: t('Which entries does the timeline show?') });
  if (!chosen) return;
  if (chosen.filter !== 'text') {
    app.selection.filter = chosen.filter;
    return;
  }
  const text = await window.showInputBox({ prompt: t('A part of a command, a label or an id') });
  if (text) app.selection.filter = { kind: 'text', text };
}
