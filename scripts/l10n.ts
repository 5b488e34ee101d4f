/**
 * media/l10n/bundle.l10n.json, made from the texts in the extension's code: what a translation starts from. One for a language stands
 * beside it (`bundle.l10n.de.json`; for the manifest `package.nls.de.json`, for the walkthrough `what.nls.de.md` and its kind), whole, and VS Code
 * loads it by itself.
 *
 *   tsx scripts/l10n.ts           writes it
 *   tsx scripts/l10n.ts --check   fails where it is not up to date, or a translation lacks a text or has other places for values
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import ts from 'typescript';

const root = resolve(__dirname, '..');
const file = join(root, 'media/l10n/bundle.l10n.json');
const problems: string[] = [];

function textsOf(path: string): string[] {
  const source = ts.createSourceFile(path, readFileSync(path, 'utf8'), ts.ScriptTarget.Latest, true);
  const texts: string[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isCallExpression(node) && ts.isIdentifier(node.expression) && node.expression.text === 't') {
      const [text] = node.arguments;
      if (text && ts.isStringLiteral(text)) texts.push(text.text);
      else {
        const { line } = source.getLineAndCharacterOfPosition(node.getStart());
        problems.push(`${relative(root, path)}:${line + 1}: a text to translate is not written out`);
      }
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return texts;
}

function bundle(): string {
  const files = (readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' }) as string[])
    .filter((name) => name.endsWith('.ts'))
    .map((name) => join(root, 'src', name));
  const texts = [...new Set(files.flatMap(textsOf))].sort();
  return `${JSON.stringify(Object.fromEntries(texts.map((text) => [text, text])), null, 2)}\n`;
}

const parsed = (path: string): Record<string, string> => JSON.parse(readFileSync(path, 'utf8'));
const buttonsOf = (text: string) => (text.match(/\]\([^)]+\)/g) ?? []).join();
const valuesOf = (text: string) => [...new Set(text.match(/\{\d+\}/g) ?? [])].sort().join();

function compare(name: string, original: Record<string, string>): void {
  const translated = existsSync(join(root, name)) ? parsed(join(root, name)) : {};
  for (const key of Object.keys(original))
    if (translated[key] === undefined) problems.push(`${name}: nothing for ${JSON.stringify(key)}`);
  for (const [key, text] of Object.entries(translated)) {
    if (original[key] === undefined) problems.push(`${name}: nobody says ${JSON.stringify(key)} any more`);
    else if (valuesOf(text) !== valuesOf(original[key]))
      problems.push(`${name}: ${JSON.stringify(key)} has other places for values`);
    else if (buttonsOf(text) !== buttonsOf(original[key]))
      problems.push(`${name}: ${JSON.stringify(key)} has other buttons`);
  }
}

/** A language has all of its files, or is none. */
function checkTranslations(made: string): void {
  const languages = [...readdirSync(dirname(file)), ...readdirSync(root)].flatMap(
    (name) => /^(?:bundle\.l10n|package\.nls)\.([\w-]+)\.json$/.exec(name)?.[1] ?? [],
  );
  const pages = readdirSync(join(root, 'media/walkthrough')).filter((name) => name.endsWith('.md'));
  for (const language of new Set(languages)) {
    compare(`media/l10n/bundle.l10n.${language}.json`, JSON.parse(made));
    compare(`package.nls.${language}.json`, parsed(join(root, 'package.nls.json')));
    for (const page of pages.filter((name) => !name.includes('.nls.')))
      if (!pages.includes(page.replace(/\.md$/, `.nls.${language}.md`)))
        problems.push(`media/walkthrough/${page}: none for ${language}`);
  }
}

const made = bundle();
if (process.argv.includes('--check')) {
  if (!existsSync(file) || readFileSync(file, 'utf8') !== made)
    problems.push('media/l10n/bundle.l10n.json is not what the code says: run npx tsx scripts/l10n.ts');
  else checkTranslations(made);
} else {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, made);
}
for (const problem of problems) console.error(problem);
process.exitCode = problems.length > 0 ? 1 : 0;
