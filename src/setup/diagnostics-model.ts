import type { ConnectionState } from '../connection/state.ts';
import type { Machine } from './machine.ts';

export interface DiagnosticFacts {
  readonly extension: string;
  readonly editor: string;
  readonly remote: string;
  readonly machine: Machine;
  readonly place: string;
  readonly connection: ConnectionState;
  readonly sandboxes: readonly { readonly id: string; readonly state: string; readonly checkpoints: number }[];
}

/** For a bug report: versions and states, no names, no paths, no contents. In English, for whoever reads it. */
export function diagnostics(facts: DiagnosticFacts): string {
  const { extension, editor, remote, machine, place, connection, sandboxes } = facts;
  const lines = [
    '### Teleport Env diagnostics',
    '',
    `- Extension: ${extension}`,
    `- Editor: ${editor}${remote ? ` (${remote})` : ''}`,
    `- Machine: ${machine.platform}, packaging ${machine.packaging}, container ${machine.container}`,
    `- Helper: ${place}, ${connection.kind}${'problem' in connection ? `: ${connection.problem.reason}: ${connection.problem.message}` : ''}`,
  ];
  if (connection.kind === 'ready') {
    const { helperVersion, protocolVersion, needs } = connection.handshake;
    lines.push(
      `- Helper version: ${helperVersion}, protocol ${protocolVersion}`,
      '',
      '| Need | Status | Detail |',
      '|---|---|---|',
    );
    for (const need of needs) lines.push(`| ${cell(need.title)} | ${need.status} | ${cell(need.detail)} |`);
    lines.push(
      '',
      `Sandboxes: ${sandboxes.map((s) => `${s.id} ${s.state}, ${s.checkpoints} checkpoints`).join('; ') || 'none'}`,
    );
  }
  return `${lines.join('\n')}\n`;
}

function cell(text: string): string {
  return text.replace(/\|/g, '\\|').replace(/\s+/g, ' ');
}
