import type { Disposable } from 'vscode';

/**
 * Where VS Code calls us by before what answers is loaded: it is given a stand-in. Whoever asks the stand-in something has all of it loaded,
 * and is answered by the real thing; whoever wants to hear of something hears it once there is somebody to tell it.
 */
export class Door<T extends object> {
  private real: T | undefined;
  private readonly waiting = new Set<(real: T) => void>();

  constructor(private readonly load: () => Promise<unknown>) {}

  /** From now on that answers. */
  leadsTo(real: T): Disposable {
    this.real = real;
    for (const heard of this.waiting) heard(real);
    this.waiting.clear();
    return {
      dispose: () => {
        if (this.real === real) this.real = undefined;
      },
    };
  }

  /** `asked`: what answers by a promise. `heard`: what answers by a Disposable, as events do. */
  standIn(asked: readonly (keyof T)[], heard: readonly (keyof T)[] = []): T {
    const ask =
      (name: keyof T) =>
      async (...given: unknown[]) =>
        call(await this.reached(), name, given);
    const hear =
      (name: keyof T) =>
      (...given: unknown[]) => {
        let listening: Disposable | undefined;
        const join = (real: T) => {
          listening = call(real, name, given) as Disposable;
        };
        if (this.real) join(this.real);
        else this.waiting.add(join);
        return {
          dispose: () => {
            this.waiting.delete(join);
            listening?.dispose();
          },
        };
      };
    const methods = [...asked.map((name) => [name, ask(name)]), ...heard.map((name) => [name, hear(name)])];
    return Object.fromEntries(methods) as T;
  }

  private async reached(): Promise<T> {
    if (!this.real) await this.load();
    if (!this.real) throw new Error('nothing is behind this door');
    return this.real;
  }
}

function call<T extends object>(real: T, name: keyof T, given: unknown[]): unknown {
  return (real[name] as (...all: unknown[]) => unknown)(...given);
}
