/** What the debugger's Variables view shows at a stop. Asked of the sandbox once per stop, and only what is looked at. */
import { Handles } from '@vscode/debugadapter';
import type { DebugProtocol } from '@vscode/debugprotocol';
import { t } from '../l10n.ts';
import { askShell, type ShellState, type ShellVariable, shellQuoted } from './shell-state.ts';
import type { Walk } from './walk.ts';
import type { World } from './world.ts';

type Variable = DebugProtocol.Variable;
type Container =
  | { kind: 'step' | 'shell' | 'environment' | 'changes' | 'processes' }
  | { kind: 'array'; variable: ShellVariable };

export class Scopes {
  private readonly handles = new Handles<Container>();
  private shell: Promise<ShellState> | undefined;

  constructor(
    private readonly world: World,
    private readonly walk: Walk,
    private readonly workspace: string,
  ) {}

  /** What was known belongs to another moment now. */
  forget(): void {
    this.handles.reset();
    this.shell = undefined;
  }

  all(): DebugProtocol.Scope[] {
    const scope = (name: string, kind: Exclude<Container['kind'], 'array'>, expensive: boolean) => ({
      name,
      variablesReference: this.handles.create({ kind }),
      expensive,
    });
    return [
      scope(t('Last step'), 'step', false),
      scope(t('Shell variables'), 'shell', false),
      scope(t('Changed files'), 'changes', false),
      scope(t('Processes'), 'processes', true),
      scope(t('Environment'), 'environment', true),
    ];
  }

  async variables(reference: number): Promise<Variable[]> {
    const container = this.handles.get(reference);
    switch (container?.kind) {
      case 'step':
        return this.step();
      case 'shell':
        return (await this.state()).variables.filter(({ exported }) => !exported).map(this.shown);
      case 'environment':
        return (await this.state()).variables.filter(({ exported }) => exported).map(this.shown);
      case 'changes':
        return this.changes();
      case 'processes':
        return this.processes();
      case 'array':
        return container.variable.elements!.map(({ key, value }) => plain(`[${key}]`, value));
      default:
        return [];
    }
  }

  /** By its name, with or without `$`. */
  async find(expression: string): Promise<Variable | null> {
    const name = /^\$?\{?(\w+)\}?$/.exec(expression.trim())?.[1];
    const found = name === undefined ? undefined : (await this.state()).variables.find((one) => one.name === name);
    return found ? this.shown(found) : null;
  }

  /** The line that gives a variable another value, or null where it is none of the shell's. */
  assignment(reference: number, name: string, value: string): string | null {
    const container = this.handles.get(reference);
    if (container?.kind === 'array') return `${container.variable.name}${name}=${shellQuoted(value)}`;
    if (container?.kind !== 'shell' && container?.kind !== 'environment') return null;
    return `${name}=${shellQuoted(value)}`;
  }

  private state(): Promise<ShellState> {
    this.shell ??= askShell(this.world, this.walk.sandbox);
    return this.shell;
  }

  private readonly shown = (variable: ShellVariable): Variable => {
    const { name, value, elements, readonly } = variable;
    const variablesReference = elements && elements.length > 0 ? this.handles.create({ kind: 'array', variable }) : 0;
    const hint = readonly ? { presentationHint: { attributes: ['readOnly'] } } : {};
    return {
      name,
      value: elements ? `(${elements.length})` : value,
      variablesReference,
      evaluateName: `$${name}`,
      ...hint,
    };
  };

  private async step(): Promise<Variable[]> {
    const ran = this.walk.known(this.walk.position - 1);
    const rows = [plain('cwd', (await this.state()).cwd)];
    if (ran) {
      rows.unshift(plain(t('exit code'), String(ran.exitCode)));
      rows.push(plain(t('time'), `${ran.durationMs} ms`), plain(t('files changed'), String(ran.filesChanged)));
    }
    const mark = this.walk.mark(this.walk.position);
    if (mark !== undefined) rows.push(plain(t('checkpoint'), mark));
    return rows;
  }

  private async changes(): Promise<Variable[]> {
    const { position, sandbox } = this.walk;
    const [from, to] = [this.walk.mark(position - 1), this.walk.mark(position)];
    if (from === undefined || to === undefined || from === to) return [];
    const { changes } = await this.world.ask('diff', { sandbox, from, to });
    const inside = `${this.workspace}/`;
    return changes.map(({ path, kind, from: old }) =>
      plain(path.startsWith(inside) ? path.slice(inside.length) : path, old === undefined ? kind : `${kind} (${old})`),
    );
  }

  private async processes(): Promise<Variable[]> {
    const { processes } = await this.world.ask('process/list', { sandbox: this.walk.sandbox });
    return processes.map(({ pid, command, state }) => plain(String(pid), `${command} (${state})`));
  }
}

function plain(name: string, value: string): Variable {
  return { name, value, variablesReference: 0, presentationHint: { attributes: ['readOnly'] } };
}
