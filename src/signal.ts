import type { Disposable } from 'vscode';

/** An event for parts that must not know of VS Code. */
export class Signal<T> {
  private readonly listeners = new Set<(value: T) => void>();

  readonly listen = (listener: (value: T) => void): Disposable => {
    this.listeners.add(listener);
    return { dispose: () => this.listeners.delete(listener) };
  };

  emit(value: T): void {
    for (const listener of [...this.listeners]) listener(value);
  }
}
