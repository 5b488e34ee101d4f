import type { Branch, Change, Checkpoint, Port, Process, Sandbox } from '../../helper/protocol/model.ts';
import type { ConnectionState } from '../connection/state.ts';
import { t } from '../l10n.ts';
import { bytes, checkpoints, files, nameOf, oneLine, processes, stateOf } from './words.ts';

/** A line of the sandbox tree. Nodes are names of things; what they look like is worked out from the cache each time. */
export type Node =
  | { readonly kind: 'sandbox'; readonly sandbox: string }
  | { readonly kind: 'current'; readonly sandbox: string; readonly branch: string }
  | { readonly kind: 'fork'; readonly sandbox: string; readonly branch: string }
  | { readonly kind: 'ports'; readonly sandbox: string; readonly branch: string }
  | { readonly kind: 'port'; readonly sandbox: string; readonly branch: string; readonly port: number }
  | { readonly kind: 'processes'; readonly sandbox: string; readonly branch: string }
  | { readonly kind: 'process'; readonly sandbox: string; readonly branch: string; readonly pid: number }
  | { readonly kind: 'change'; readonly sandbox: string; readonly branch: string; readonly path: string }
  | { readonly kind: 'more'; readonly sandbox: string; readonly branch: string; readonly count: number };

export function nodeId(node: Node): string {
  switch (node.kind) {
    case 'sandbox':
      return node.sandbox;
    case 'process':
      return `${node.sandbox}/${node.branch}/process/${node.pid}`;
    case 'port':
      return `${node.sandbox}/${node.branch}/port/${node.port}`;
    case 'change':
      return `${node.sandbox}/${node.branch}/change${node.path}`;
    default:
      return `${node.sandbox}/${node.branch}/${node.kind}`;
  }
}

/** What was asked about a branch, if it was answered yet. */
export interface Details {
  readonly changes?: readonly Change[] | undefined;
  readonly processes?: readonly Process[] | undefined;
  readonly ports?: readonly Port[] | undefined;
}

export interface Line {
  readonly label: string;
  readonly description: string;
  readonly icon: string;
  readonly tone: 'plain' | 'running' | 'failed' | 'quiet';
  readonly context: string;
  readonly spoken: string;
  readonly open: 'closed' | 'open' | 'leaf';
  readonly tooltip?: string;
}

const MOST_CHANGES = 200;

/** `connected` false: what is shown is what we last heard. */
export function sandboxLine(sandbox: Sandbox, connection: ConnectionState['kind']): Line {
  const reachable = connection === 'ready';
  const state = reachable ? stateOf(sandbox) : t('unreachable');
  const head = sandbox.branches.find((b) => b.id === sandbox.head);
  const facts = [state];
  if (reachable && sandbox.state === 'running' && head) facts.push(processes(head.processes));
  if (reachable && sandbox.state === 'stopped') facts.push(checkpoints(sandbox.checkpoints));
  if (reachable && sandbox.gateway) facts.push(t('asks models'));
  if (sandbox.problem && sandbox.state === 'failed') facts.push(oneLine(sandbox.problem, 60));
  const description = facts.join(' · ');
  return {
    label: sandbox.name,
    description,
    icon: !reachable ? 'debug-disconnect' : ICONS[sandbox.state],
    tone: !reachable
      ? 'quiet'
      : sandbox.state === 'running'
        ? 'running'
        : sandbox.state === 'failed'
          ? 'failed'
          : 'quiet',
    context: `sandbox ${reachable ? sandbox.state : 'unreachable'}`,
    spoken: `${sandbox.name}, ${description}`,
    open: sandbox.branches.some((b) => b.role !== 'standby') ? 'open' : 'leaf',
    tooltip: [sandbox.workspace, sandbox.problem].filter(Boolean).join('\n'),
  };
}

const ICONS: Record<Sandbox['state'], string> = {
  starting: 'loading~spin',
  running: 'vm-running',
  restoring: 'loading~spin',
  stopped: 'vm-outline',
  failed: 'error',
};

/** `head`'s details: ports stand there where something listens. */
export function branchNodes(sandbox: Sandbox, details?: Details): Node[] {
  const nodes: Node[] = [];
  const { id, head } = sandbox;
  if (head !== null) nodes.push({ kind: 'current', sandbox: id, branch: head });
  for (const branch of sandbox.branches)
    if (branch.role === 'fork') nodes.push({ kind: 'fork', sandbox: id, branch: branch.id });
  if (head !== null && details?.ports?.length) nodes.push({ kind: 'ports', sandbox: id, branch: head });
  if (head !== null) nodes.push({ kind: 'processes', sandbox: id, branch: head });
  return nodes;
}

/** Of a fork: what listens in it, and what differs in it. */
export function forkNodes(sandbox: string, branch: string, details: Details | undefined): Node[] {
  const changes = changeNodes(sandbox, branch, details?.changes ?? []);
  return details?.ports?.length ? [{ kind: 'ports', sandbox, branch }, ...changes] : changes;
}

export function branchLine(
  node: { readonly kind: 'current' | 'fork'; readonly branch: string },
  branch: Branch | undefined,
  checkpoint: Checkpoint | undefined,
  details: Details | undefined,
): Line {
  const label = node.kind === 'current' ? t('Current') : t('Live fork {0}', node.branch);
  const facts: string[] = [];
  if (checkpoint) facts.push(t('after “{0}”', oneLine(nameOf(checkpoint), 24)));
  else if (branch) facts.push(t('after {0}', branch.checkpoint));
  if (branch?.agents?.length) facts.push(t('{0} inside', branch.agents.join(', ')));
  if (details?.changes?.length) facts.push(t('{0} changed', files(details.changes.length)));
  if (node.kind === 'fork' && branch) facts.push(branch.processes > 0 ? processes(branch.processes) : t('idle'));
  const description = facts.join(' · ');
  return {
    label,
    description,
    icon: node.kind === 'current' ? 'target' : 'git-branch',
    tone: 'plain',
    context: node.kind,
    spoken: `${label}, ${description}`,
    open: 'closed',
    ...(branch?.agents?.length
      ? {
          tooltip: t(
            'A rollback takes the memory of {0} back, too: it goes on from that moment.',
            branch.agents.join(', '),
          ),
        }
      : {}),
  };
}

type Local = (port: number) => number | undefined;

export function portsLine(ports: readonly Port[], local: Local): Line {
  const description = ports.map(({ port }) => portWords(port, local(port))).join(' · ');
  return {
    label: t('Ports'),
    description,
    icon: 'plug',
    tone: 'plain',
    context: 'ports',
    spoken: `${t('Ports')}, ${description}`,
    open: ports.length > 1 ? 'closed' : 'open',
  };
}

export function portLine({ port, command }: Port, local: Local): Line {
  const here = local(port);
  const words = [here === undefined ? '' : `→ localhost:${here}`, command ? oneLine(command, 40) : ''];
  const description = words.filter(Boolean).join(' · ');
  return {
    label: String(port),
    description,
    icon: here === undefined ? 'circle-outline' : 'broadcast',
    tone: 'plain',
    context: 'port',
    spoken: [t('port {0}', port), description].filter(Boolean).join(', '),
    open: 'leaf',
    tooltip: command ?? '',
  };
}

function portWords(port: number, local: number | undefined): string {
  return local === undefined ? String(port) : `${port} → localhost:${local}`;
}

export function processesLine(branch: Branch | undefined, details: Details | undefined): Line {
  const known = details?.processes;
  const description = known
    ? oneLine(known.map((p) => `${programOf(p)} ${p.pid}`).join(' · '), 100)
    : branch
      ? String(branch.processes)
      : '';
  return {
    label: t('Processes'),
    description,
    icon: 'server-process',
    tone: 'plain',
    context: 'processes',
    spoken: `${t('Processes')}, ${description}`,
    open: 'closed',
  };
}

export function processLine(process: Process): Line {
  const description = `${process.pid} · ${bytes(process.rss)}`;
  return {
    label: programOf(process),
    description,
    icon: process.state === 'Z' ? 'circle-slash' : process.state === 'T' ? 'debug-pause' : 'gear',
    tone: 'plain',
    context: 'process',
    spoken: `${programOf(process)}, ${t('process {0}', process.pid)}, ${bytes(process.rss)}`,
    open: 'leaf',
    tooltip: process.command,
  };
}

function programOf(process: Process): string {
  const first = process.command.trim().split(/\s/)[0] ?? '';
  return first.split('/').at(-1)?.replace(/^-/, '') || process.command || '?';
}

/** At most some hundreds: the rest is one line that opens all of them as a diff. */
export function changeNodes(sandbox: string, branch: string, changes: readonly Change[]): Node[] {
  const nodes: Node[] = changes
    .slice(0, MOST_CHANGES)
    .map((change) => ({ kind: 'change', sandbox, branch, path: change.path }));
  const rest = changes.length - nodes.length;
  if (rest > 0) nodes.push({ kind: 'more', sandbox, branch, count: rest });
  return nodes;
}

export function changeLine(change: Change, workspace: string): Line {
  const path = insideOf(workspace, change.path);
  const slash = path.lastIndexOf('/');
  const folder = slash > 0 ? path.slice(0, slash) : '';
  const what = changeWord(change);
  return {
    label: path.slice(slash + 1),
    description: [folder, what].filter(Boolean).join(' · '),
    icon: CHANGE_ICONS[change.kind],
    tone: 'plain',
    context: 'change',
    spoken: `${path}, ${what}`,
    open: 'leaf',
    tooltip: change.from ? `${change.from} → ${change.path}` : change.path,
  };
}

export function changeWord(change: Pick<Change, 'kind' | 'from'>): string {
  switch (change.kind) {
    case 'added':
      return t('added');
    case 'changed':
      return t('changed');
    case 'deleted':
      return t('deleted');
    case 'renamed':
      return t('renamed from {0}', change.from ?? '?');
    case 'mode':
      return t('permissions changed');
    case 'link':
      return t('link changed');
  }
}

const CHANGE_ICONS: Record<Change['kind'], string> = {
  added: 'diff-added',
  changed: 'diff-modified',
  deleted: 'diff-removed',
  renamed: 'diff-renamed',
  mode: 'lock',
  link: 'link',
};

/** Relative to the workspace where it is below it. */
export function insideOf(workspace: string, path: string): string {
  return path.startsWith(`${workspace}/`) ? path.slice(workspace.length + 1) : path;
}
