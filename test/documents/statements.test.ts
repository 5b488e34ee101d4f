import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { bashGrammar, type Parse } from '../../helper/client/documents/grammar.ts';
import { statementsOf } from '../../helper/client/documents/statements.ts';
import { Random } from './random.ts';

describe('top-level statements of a script', () => {
  let parse: Parse;
  before(async () => {
    parse = await bashGrammar();
  });
  const texts = (script: string) => statementsOf(script, parse).map(({ text }) => text);

  it('are its lines, comments and blanks left out', () => {
    assert.deepEqual(texts('#!/bin/bash\n\ncd src  # go\n# note\nnpm test\n\n'), ['cd src  # go', 'npm test']);
    assert.deepEqual(texts(''), []);
    assert.deepEqual(texts('# only words'), []);
  });

  it('keep together what shares a line', () => {
    assert.deepEqual(texts('a; b\nc & d'), ['a; b', 'c & d']);
    assert.deepEqual(texts('if x; then\n y\nfi; echo z\nw'), ['if x; then\n y\nfi; echo z', 'w']);
  });

  it('hold loops, functions, groups and cases together', () => {
    const pieces = [
      'for f in *; do\n  echo "$f"\n\n  # inside\ndone',
      'f() {\n  local x=1\n  echo "$x"\n}',
      'while read -r line; do echo "$line"; done < file',
      'case "$1" in\n  a) one ;;\n  *)\n    two\n    ;;\nesac',
      '{\n  a\n  b\n} > out',
      '(cd x &&\n  make)',
      'if [[ -f a && ! -f b ]]; then\n  x\nelif y; then\n  z\nelse\n  w\nfi',
      'a |\n  b |\n  c',
      'a &&\n  b ||\n  c',
      'x=(\n  1\n  2\n)',
      'echo "several\nlines"',
      "awk '\n  { print }\n' file",
      'echo a \\\n  b \\\n  c',
      'x=$(\n  ls\n)',
      'until false; do\n  break\ndone',
    ];
    assert.deepEqual(texts(pieces.join('\n')), pieces);
    assert.deepEqual(texts(pieces.join('\n\n# and\n')), pieces);
  });

  it('hold heredocs together, whatever stands on their line', () => {
    const pieces = [
      'cat <<EOF\nfor x in\n# %% not a cell\nEOF',
      "cat > f <<'END'\n$(not run\n`nor this\n\"\nEND",
      'cat <<-EOF\n\ttabbed\n\tEOF',
      'cat <<A; cat <<B\n1\nA\n2\nB',
      'cat <<EOF | sort > out\nb\na\nEOF',
      'if true; then\ncat <<EOF\nfi\nEOF\nfi',
      'python3 - <<"PY"\nif x:\n  print("}")\nPY',
      'cat <<EOF && echo yes\ntext\nEOF',
      'cat <<EOF\nEOF',
      'git commit -m "$(cat <<\'EOF\'\nIt\'s "done"\n\n)\nEOF\n)"',
      'a | b | c',
      'd && e || f',
      'echo \'<<NOT\' "<<NOT" $((1 << 2)) # <<NOT',
      'ssh host <<"E O"\nuptime\nE O',
    ];
    assert.deepEqual(texts(pieces.join('\n')), pieces);
    for (const piece of pieces) assert.deepEqual(texts(`first\n${piece}\nlast`), ['first', piece, 'last'], piece);
  });

  it('lose no text to a syntax error', () => {
    for (const script of [
      'if true; then\necho',
      'a\n)\nb',
      'echo "never closed\nb\nc',
      'cat <<EOF\nnever ended',
      '}}}',
      'for\ndone\nfi',
      'x=$((1+\ny',
    ]) {
      const covered = new Set(statementsOf(script, parse).flatMap(({ first, last }) => range(first, last)));
      script.split('\n').forEach((line, at) => {
        assert.ok(line.trim() === '' || covered.has(at), `${script}: line ${at}`);
      });
    }
    const [first, second] = statementsOf('echo fine\nif oops; then', parse);
    assert.deepEqual([first!.broken, second!.broken], [false, true]);
  });

  it('cover any text, in order, each line once', () => {
    const random = new Random();
    const bits = [
      'if ',
      'then',
      'fi',
      '\n',
      '\n',
      '\n',
      '"',
      "'",
      '`',
      '$(',
      ')',
      '((',
      '<<EOF',
      'EOF',
      '<<',
      '{',
      '}',
      ';',
      ';;',
      '&',
      '|',
      '#',
      '\\',
      ' ',
      'x=',
      'echo a',
      'é😀',
      'case x in',
      'esac',
      'do',
      'done',
      'for i in',
      '[[',
      ']]',
      '$',
      '\t',
      '\r',
      '\0',
      '# %%',
    ];
    for (let n = 0; n < 400; n++) {
      const script = random.some(40, () => random.pick(bits)).join('');
      let next = 0;
      for (const { first, last, text } of statementsOf(script, parse)) {
        assert.ok(first >= next && last >= first, `seed ${random.seed}: ${JSON.stringify(script)}`);
        const lines = script.split('\n');
        assert.equal(text, lines.slice(first, last + 1).join('\n'));
        for (const line of lines.slice(next, first))
          assert.match(line, /^\s*(#.*)?$/s, `seed ${random.seed}: ${JSON.stringify(script)}`);
        next = last + 1;
      }
    }
  });

  it('run one by one do what the script does', () => {
    const random = new Random();
    for (let n = 0; n < 60; n++) {
      const script = block(random, 3);
      const whole = bash(script);
      const pieces = statementsOf(script, parse);
      const words = pieces.map(({ text }) => text);
      const driver = 'shopt -s expand_aliases\nwhile IFS= read -r -d "" piece; do eval "$piece"; done';
      const stepped = spawnSync('bash', ['-c', driver], {
        input: words.map((one) => `${one}\0`).join(''),
        encoding: 'utf8',
      });
      assert.equal(stepped.stdout, whole, `seed ${random.seed}:\n${script}\n--- ${stepped.stderr}`);
      assert.ok(pieces.length > 0);
    }
  });
});

function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, n) => first + n);
}

function bash(script: string): string {
  return spawnSync('bash', ['-c', script], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).stdout;
}

/** Statements that all print something, nested at random. */
function block(random: Random, depth: number): string {
  return random.some(5, () => statement(random, depth)).join(random.pick(['\n', '\n\n', '\n# words\n', '\n  \n']));
}

function statement(random: Random, depth: number): string {
  const n = random.below(1000);
  const simple = [
    `echo ${n}`,
    `x=${n}`,
    `echo "$x ${n}"`,
    `echo 'a "b" ${n}' "two\nlines # ${n}"`,
    `cat <<EOF\n${n} $x\n  # no comment\nEOF`,
    `cat <<'END'\n${n} "$x \`\n$(\nEND`,
    `cat <<-E\n\t${n}\n\tE`,
    `cat <<A; cat <<'B'\n1 ${n}\nA\n2 $y\nB`,
    `cat <<EOF | tr a-z A-Z\nabc ${n}\nEOF`,
    `y=$(echo ${n}\necho "(")`,
    `echo $((${n} + 1)) \${x:-none} \${#x}`,
    `echo ${n} |\n  sed 's/1/2/' |\n  cat`,
    `printf '%s\\n' a \\\n  ${n}`,
    `arr=(${n}\n  2) ; echo "\${arr[@]}"`,
    `[[ $x == 5* ]] && echo five || echo other`,
    `echo ${n} # with "quote`,
    `let 'z = ${n} << 2'; echo $z`,
    `read -r l <<< "here ${n}"; echo "$l"`,
    `x+=${n}; echo "$x"`,
    `echo $'tab\\t${n}\\''`,
    `eval 'echo ev ${n}'`,
    `echo a{1,2}${n} "\${x/1/2}" "\${x%%*(0)}"`,
  ];
  if (depth === 0) return random.pick(simple);
  const inner = () => block(random, depth - 1);
  return random.pick([
    ...simple,
    `if [ $((RANDOM * 0)) -eq ${random.below(2)} ]; then\n${inner()}\nelse\n${inner()}\nfi`,
    `for i in 1 2; do\n${inner()}\ndone`,
    `f${n}() {\n${inner()}\n}\nf${n}`,
    `(\n${inner()}\n)`,
    `{\n${inner()}\n} | cat`,
    `case ${n} in\n  1*)\n${inner()}\n  ;;\n  *) ${statement(random, 0)}\n  ;;\nesac`,
    `while read -r v; do echo "$v"; done <<EOF\n${n}\nb\nEOF`,
    `i=0; while [ $i -lt 2 ]; do\n${inner()}\ni=$((i+1)); [ $i -gt 5 ] && break\nbreak\ndone`,
    `true && {\n${inner()}\n}`,
    `function g${n} {\n${inner()}\n}; g${n}`,
    `echo "$(\n${random.pick(simple)}\n)"`,
  ]);
}
