import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { shellIntegrationVariables } from '../../../src/terminal/shell-integration.ts';

/** A real bash on a terminal of its own, by `script`. */
function bash(input: string): string {
  const env = { PATH: process.env.PATH, HOME: '/', TERM: 'xterm', ...shellIntegrationVariables('n0nce') };
  const { stdout } = spawnSync('script', ['-qfec', 'bash --norc --noprofile -i', '/dev/null'], {
    input,
    env,
    encoding: 'utf8',
    timeout: 20_000,
  });
  return stdout;
}

const marks = (text: string) =>
  [...text.matchAll(/\x1b\]633;([ABCDE])(?:;([^\x07]*))?\x07/g)]
    .map((m) => (m[2] ? `${m[1]};${m[2]}` : m[1]!))
    .filter((mark) => mark !== 'A' && mark !== 'B');

describe('shell integration by variables', function () {
  this.timeout(30_000);

  before(function () {
    if (spawnSync('script', ['--version']).status !== 0) this.skip();
  });

  it('marks each command with its line and its exit code', () => {
    const text = bash('echo a; echo "b\\c"\nfalse\n\n(exit 7)\nexit\n');
    assert.deepEqual(marks(text), [
      'D',
      'E;echo a\\x3b echo "b\\\\c";n0nce',
      'C',
      'E;echo a\\x3b echo "b\\\\c";n0nce',
      'D;0',
      'E;false;n0nce',
      'C',
      'E;false;n0nce',
      'D;1',
      'D',
      'E;(exit 7);n0nce',
      'C',
      'E;(exit 7);n0nce',
      'D;7',
      'E;exit;n0nce',
      'C',
      'E;exit;n0nce',
    ]);
  });

  it('leaves the exit code to the user, and nested shells alone', () => {
    const text = bash('false\necho "was $?"\nbash -c \'echo "[$PROMPT_COMMAND$PS0]"\'\nexit\n');
    assert.match(text, /was 1/);
    assert.match(text, /;n0nce\x07\[\]\r/);
  });
});
