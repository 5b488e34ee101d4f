import type { Change } from '../../protocol/model.ts';
import type { Context } from '../context.ts';
import { printable, table } from '../text.ts';

/** One line a path: what happened in a word, and where. */
export function changeTable(
  ctx: Context,
  changes: Pick<Change, 'path' | 'kind' | 'from'>[],
  workspace?: string,
): string {
  const { style } = ctx;
  const paint = {
    added: style.good,
    deleted: style.bad,
    changed: style.warn,
    renamed: style.warn,
    mode: style.warn,
    link: style.warn,
  };
  const shown = (path: string) =>
    printable(workspace && path.startsWith(`${workspace}/`) ? path.slice(workspace.length + 1) : path);
  return table(
    changes.map(({ path, kind, from }) => [
      paint[kind](kind),
      from === undefined ? shown(path) : `${shown(from)} → ${shown(path)}`,
    ]),
  );
}
