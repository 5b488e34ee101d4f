/** What HelperProcess runs: the daemon, with a volume of a size fit for tests. */
import { serve } from '../../helper/daemon/main.ts';

const [, , socket, state, bytes] = process.argv;
const volumeBytes = bytes ? Number(bytes) : undefined;
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
