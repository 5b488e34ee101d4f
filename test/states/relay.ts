/** Passes a connection on as another user: `relay.ts SOCKET DAEMON-SOCKET UID`. The daemon takes who somebody is from the kernel. */
import { chmodSync } from 'node:fs';
import { connect, createServer } from 'node:net';

const [socket, daemon, uid] = process.argv.slice(2) as [string, string, string];
const server = createServer((client) => {
  const helper = connect(daemon);
  client.pipe(helper).pipe(client);
  for (const one of [client, helper]) one.on('error', () => client.destroy());
});
server.listen(socket, () => {
  chmodSync(socket, 0o600);
  process.setgroups?.([]);
  process.setgid?.(Number(uid));
  process.setuid?.(Number(uid));
  console.log('listening');
});
