/**
 * Passes a connection on as another user: `relay.cjs SOCKET DAEMON-SOCKET UID`. The daemon takes who somebody is from the
 * kernel. Plain JavaScript, since that user may not be able to read what TypeScript would need.
 */
const { chmodSync } = require('node:fs');
const { connect, createServer } = require('node:net');

const [socket, daemon, uid] = process.argv.slice(2);
const server = createServer((client) => {
  const helper = connect(daemon);
  client.pipe(helper).pipe(client);
  for (const one of [client, helper]) one.on('error', () => client.destroy());
});
server.listen(socket, () => {
  chmodSync(socket, 0o600);
  process.setgroups([]);
  process.setgid(Number(uid));
  process.setuid(Number(uid));
  console.log('listening');
});
