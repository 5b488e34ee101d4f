/** Command lines for inside the machine. Plain functions. */

/** Where a program that exited with 4 is said to have exited with. */
export const FOUR = 104;

/**
 * Never lets a guest exit with 4: multipass 1.16 takes that for a failure of its own and runs the command *again*. The
 * shell stays as a parent and hands standard input on untouched.
 */
export function neverFour(argv: readonly string[]): string[] {
  return ['sh', '-c', `"$@"; s=$?; [ $s = 4 ] && s=${FOUR}; exit $s`, 'sh', ...argv];
}
