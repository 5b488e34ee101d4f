import type { ConnectionState } from '../connection/state.ts';
import { withoutOwn } from './log-tail.ts';
import type { Machine } from './machine.ts';

export interface DiagnosticFacts {
  readonly extension: string;
  readonly editor: string;
  readonly remote: string;
  readonly machine: Machine;
  /** What it runs on, as `uname -srm` says it. */
  readonly system: string;
  readonly place: string;
  readonly connection: ConnectionState;
  readonly sandboxes: readonly { readonly id: string; readonly state: string; readonly checkpoints: number }[];
  /** Lines of the log. */
  readonly trouble: readonly string[];
  /** Of people, machines, sandboxes and folders. */
  readonly names: readonly string[];
}

/**
 * For a bug report: versions, states and what went wrong lately; no names, no paths of anybody's own, no contents. In English, for
 * whoever reads it.
 */
export function diagnostics(facts: DiagnosticFacts): string {
  const { extension, editor, remote, machine, system, place, connection, sandboxes, names } = facts;
  const clean = (text: string) => withoutOwn(text, names);
  const lines = [
    '### Teleport Env diagnostics',
    '',
    `- Extension: ${extension}`,
    `- Editor: ${editor}${remote ? ` (${remote})` : ''}`,
    `- Machine: ${system}, packaging ${machine.packaging}, container ${machine.container}`,
    `- Helper: ${place}, ${connection.kind}${'problem' in connection ? `: ${connection.problem.reason}: ${clean(connection.problem.message)}` : ''}`,
  ];
  if (connection.kind === 'ready') {
    const { helperVersion, protocolVersion, needs } = connection.handshake;
    lines.push(
      `- Helper version: ${helperVersion}, protocol ${protocolVersion}`,
      '',
      '| Need | Status | Detail |',
      '|---|---|---|',
    );
    for (const need of needs) lines.push(`| ${cell(need.title)} | ${need.status} | ${cell(clean(need.detail))} |`);
    lines.push(
      '',
      `Sandboxes: ${sandboxes.map((s) => `${s.id} ${s.state}, ${s.checkpoints} checkpoints`).join('; ') || 'none'}`,
    );
  }
  const trouble = facts.trouble.map(clean);
  lines.push('', 'Warnings and errors:', '', ...(trouble.length > 0 ? ['```', ...trouble, '```'] : ['none']));
  return `${lines.join('\n')}\n`;
}

function cell(text: string): string {
  return text.replace(/\|/g, '\\|').replace(/\s+/g, ' ');
}
