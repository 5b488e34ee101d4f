import { Disposable } from 'vscode';
import type { App } from './app.ts';
import type { CommandId } from './ids.ts';
import { report } from './report.ts';

export type Handler = (argument?: unknown, ...rest: unknown[]) => unknown;

/** Commands as a table. What one of them throws is shown, once, here. */
export function register(app: App, table: Partial<Record<CommandId, Handler>>): Disposable {
  const registered = Object.entries(table).map(([id, handler]) =>
    app.doors.acts[id as CommandId].leadsTo({
      run: async (...given) => {
        try {
          return await handler(...given);
        } catch (error) {
          report(app.log, error);
          return undefined;
        }
      },
    }),
  );
  return Disposable.from(...registered);
}
