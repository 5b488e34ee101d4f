/**
 * docs/protocol.md, made from the schemas that the helper validates by.
 *
 *   tsx scripts/protocol-doc.ts           writes it
 *   tsx scripts/protocol-doc.ts --check   fails where it is not up to date
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import * as z from 'zod';
import { ERRORS } from '../helper/protocol/errors.ts';
import { METHODS, NOTIFICATIONS, PROTOCOL_VERSION } from '../helper/protocol/methods.ts';

const file = join(resolve(__dirname, '..'), 'docs/protocol.md');

interface Schema {
  type?: string | string[];
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  anyOf?: Schema[];
  enum?: unknown[];
  const?: unknown;
  pattern?: string;
  default?: unknown;
  additionalProperties?: Schema | boolean;
  contentEncoding?: string;
}

/** A type as one writes it in TypeScript. */
function typeOf(s: Schema): string {
  if (s.const !== undefined) return JSON.stringify(s.const);
  if (s.enum) return s.enum.map((v) => JSON.stringify(v)).join(' \\| ');
  if (s.anyOf) return s.anyOf.map(typeOf).join(' \\| ');
  if (s.contentEncoding === 'base64') return 'base64';
  if (s.type === 'array') return `${wrap(typeOf(s.items ?? {}))}[]`;
  if (s.type === 'object') {
    if (s.properties) return `{ ${fieldsOf(s).join('; ')} }`;
    return `{ [name]: ${typeof s.additionalProperties === 'object' ? typeOf(s.additionalProperties) : 'any'} }`;
  }
  return [s.type ?? 'any'].flat().join(' \\| ');
}

function wrap(type: string): string {
  return type.includes('|') ? `(${type})` : type;
}

function fieldsOf(s: Schema): string[] {
  return Object.entries(s.properties ?? {}).map(([name, field]) => {
    const optional = !s.required?.includes(name) || field.default !== undefined;
    const preset = field.default === undefined ? '' : ` = ${JSON.stringify(field.default)}`;
    return `${name}${optional ? '?' : ''}: ${typeOf(field)}${preset}`;
  });
}

function list(schema: z.ZodType, io: 'input' | 'output'): string[] {
  const fields = fieldsOf(z.toJSONSchema(schema, { io, unrepresentable: 'any' }) as Schema);
  return fields.length ? fields.map((f) => `  - \`${f.replaceAll('\\|', '|')}\``) : ['  - nothing'];
}

function document(): string {
  const lines = [
    '# Protocol',
    '',
    '<!-- Made by scripts/protocol-doc.ts from helper/protocol: change it there. -->',
    '',
    `JSON-RPC 2.0 with Content-Length framing, as in the Language Server Protocol, on a unix socket. Version ${PROTOCOL_VERSION}; the helper serves that one and the one before.`,
    "The first request of a connection is `initialize`. A `sandbox` is named by its id or by its owner's name for it; a `branch` left out means the current one.",
    'Requests can be cancelled by `$/cancelRequest`.',
    '`expect` names checkpoints that the caller will probably go to next, the likeliest first: up to three stand by then. It holds until it comes again; `[]` takes it back.',
    'One that does not exist is refused before anything is done; one that is deleted later is passed over.',
    'A checkpoint becomes `durable` and `verified` in the background, in either order, each told of by `checkpoint/changed` when it is so; one without the other can be for long, or for good.',
    '',
    '## Requests',
    '',
  ];
  for (const [name, { params, result }] of Object.entries(METHODS))
    lines.push(`### ${name}`, '', '- takes', ...list(params, 'input'), '- answers', ...list(result, 'output'), '');
  lines.push('## Notifications', '', 'To every client whose sandboxes they are about.', '');
  for (const [name, params] of Object.entries(NOTIFICATIONS))
    lines.push(`### ${name}`, '', ...list(params, 'output').map((l) => l.trimStart()), '');
  lines.push(
    '## Errors',
    '',
    "An error's `data` holds `code`, and where there is one `hint`, `process`, `resource`.",
    '',
    '| code | whose fault |',
    '| --- | --- |',
  );
  for (const [code, fault] of Object.entries(ERRORS)) lines.push(`| \`${code}\` | ${fault} |`);
  return `${lines.join('\n')}\n`;
}

const text = document();
if (process.argv.includes('--check')) {
  if (!existsSync(file) || readFileSync(file, 'utf8') !== text) {
    console.error('docs/protocol.md is not what the schemas say: run npx tsx scripts/protocol-doc.ts');
    process.exit(1);
  }
} else {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
}
