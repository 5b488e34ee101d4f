/** What HelperProcess runs: the daemon, with a volume of a size fit for tests. */
import { serve } from '../../helper/daemon/main.ts';

const [, , socket, state, bytes] = process.argv;
serve({ socket: socket!, state: state!, volumeBytes: bytes ? Number(bytes) : undefined }).then(
  () => process.exit(0),
  (error: Error) => {
    process.stderr.write(`${error.stack}\n`);
    process.exit(1);
  },
);
