/** The MCP server: what an agent outside of the sandbox works through. Speaks on standard input and output. */
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import { version } from '../version.ts';
import { Room, type RoomOptions } from './room.ts';
import { failureText } from './tool.ts';
import { TOOLS } from './tools.ts';

const INSTRUCTIONS = `Teleport Env is an undo for a whole machine. Run commands with run: they happen in a sandbox, a copy of the folder with its own processes, and each leaves a checkpoint. When something went wrong, rollback to the checkpoint before it: files, processes and memory are as they were. Try alternatives side by side with fork. Nothing reaches the real folder until apply.`;

export function mcpServer(room: Room): McpServer {
  const server = new McpServer(
    { name: 'teleport-env', title: 'Teleport Env', version: version() },
    { instructions: INSTRUCTIONS },
  );
  for (const tool of TOOLS) {
    const { name, title, description, input, readOnly, destructive } = tool;
    const annotations = { title, readOnlyHint: readOnly, destructiveHint: destructive, openWorldHint: false };
    server.registerTool(name, { title, description, inputSchema: input, annotations }, async (args, extra) => {
      const token = extra._meta?.progressToken;
      let steps = 0;
      const progress = (message: string) => {
        if (token === undefined) return;
        const params = { progressToken: token, progress: ++steps, message };
        extra.sendNotification({ method: 'notifications/progress', params }).catch(() => {});
      };
      try {
        const { text, data, sandbox } = await tool.act(args, { room, signal: extra.signal, progress });
        const news = await room.news(sandbox).catch(() => null);
        const content = [news, text].filter((one) => one !== null).map((one) => ({ type: 'text' as const, text: one }));
        return { content, structuredContent: news === null ? data : { ...data, rolledBack: news } };
      } catch (error) {
        return { content: [{ type: 'text', text: failureText(error) }], isError: true };
      }
    });
  }
  return server;
}

/** Serves until the client goes. */
export async function serveMcp(options: RoomOptions, transport: Transport = new StdioServerTransport()): Promise<void> {
  const room = new Room(options);
  const server = mcpServer(room);
  const ended = new Promise<void>((resolve) => {
    server.server.onclose = resolve;
    // The SDK's transport does not notice that its input has ended.
    process.stdin.once('end', resolve);
  });
  try {
    await server.connect(transport);
    await ended;
  } finally {
    await server.close();
    room.close();
  }
}
