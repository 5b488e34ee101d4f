/** What HelperProcess runs: the daemon, with a volume of a size fit for tests. */
import { writeFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { serve } from '../../helper/daemon/main.ts';

const [, , socket, state, bytes] = process.argv;
const volumeBytes = bytes ? Number(bytes) : undefined;
/** What it needs of the heap, in bytes, told where a test asks (HelperProcess.liveHeapMb). */
process.on('SIGUSR2', () => {
  setFlagsFromString('--expose-gc');
  runInNewContext('gc')();
  writeFileSync(`${state}-heap`, `${process.memoryUsage().heapUsed}\n`);
});
serve({
  socket: socket!,
  state: state!,
  volumeBytes,
  admitted: `${state}-admitted`,
  rootInside: `${state}-root-inside`,
}).then(
  () => process.exit(0),
  (error: Error) => {
    process.stderr.write(`${error.stack}\n`);
    process.exit(1);
  },
);
