import { Disposable, EventEmitter, ThemeColor, ThemeIcon, type TreeDataProvider, TreeItem, window } from 'vscode';
import type { App } from '../app.ts';
import type { Machine } from '../connection/multipass/machine.ts';
import type { Instance } from '../connection/multipass/outputs.ts';
import { helperError } from '../connection/multipass/place.ts';
import { wordsOf } from '../report.ts';
import { machineLine } from './machine-model.ts';

export interface MachineView extends Disposable {
  /** Asks how it stands now. */
  refresh(): void;
  /** While it is put to rest it still looks as if it ran. */
  during<T>(work: Promise<T>): Promise<T>;
}

/** The machine as the one row of a view of its own. Nothing polls: it is asked when somebody looks, and after each act. */
export function machineView(app: App, machine: Machine): MachineView {
  const changed = new EventEmitter<undefined>();
  let acting = 0;
  const tree: TreeDataProvider<Instance> = {
    onDidChangeTreeData: changed.event,
    getChildren: async (of) => {
      if (of) return [];
      try {
        const found = await machine.state();
        view.message = undefined;
        // Another window or a terminal woke what rests here.
        if (found?.state === 'Running' && acting === 0) app.helper.seenUp();
        return found ? [found] : [];
      } catch (error) {
        // Its absence is what the welcome text is about; anything else is worth a word.
        const known = helperError(error);
        app.log.warn(`the machine: ${known.message}`);
        view.message = wordsOf(known);
        return [];
      }
    },
    getTreeItem: (instance) => {
      const line = machineLine(instance);
      const item = new TreeItem(line.label);
      item.id = instance.name;
      item.description = line.description;
      item.iconPath = new ThemeIcon('server', line.running ? new ThemeColor('charts.green') : undefined);
      item.contextValue = line.context;
      item.tooltip = line.tooltip;
      item.accessibilityInformation = { label: `${line.label}, ${line.description}` };
      return item;
    },
  };
  const { door, view } = app.doors.machine;
  const refresh = () => {
    if (view.visible) changed.fire(undefined);
  };
  const all = Disposable.from(
    changed,
    door.leadsTo(tree),
    view.onDidChangeVisibility(refresh),
    app.helper.onDidChangeState(refresh),
    // Somebody may have stopped it in a terminal meanwhile.
    window.onDidChangeWindowState(({ focused }) => {
      if (focused) refresh();
    }),
  );
  const during = async <T>(work: Promise<T>): Promise<T> => {
    acting++;
    try {
      return await work;
    } finally {
      acting--;
    }
  };
  return { refresh, during, dispose: () => all.dispose() };
}
