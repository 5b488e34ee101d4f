/** Offers the MCP server to the editor's own agents, for the folder that is open. */
import { Disposable, EventEmitter, lm, McpStdioServerDefinition, Uri, workspace } from 'vscode';
import type { Feature } from '../app.ts';

export const MCP_PROVIDER = 'teleport-env';

export const mcpServer: Feature = ({ helper, context }) => {
  // Came with VS Code 1.101; editors built on it may lack it.
  if (typeof lm?.registerMcpServerDefinitionProvider !== 'function') return new Disposable(() => {});
  const changed = new EventEmitter<void>();
  return Disposable.from(
    changed,
    workspace.onDidChangeWorkspaceFolders(() => changed.fire()),
    workspace.onDidGrantWorkspaceTrust(() => changed.fire()),
    helper.onDidChangeState(({ kind }) => {
      if (helper.place.name !== 'native' && kind === 'ready') changed.fire();
    }),
    lm.registerMcpServerDefinitionProvider(MCP_PROVIDER, {
      onDidChangeMcpServerDefinitions: changed.event,
      provideMcpServerDefinitions: () => {
        const folder = workspace.workspaceFolders?.find(({ uri }) => uri.scheme === 'file');
        // A machine has a way in only once it was reached.
        const reached = helper.place.name === 'native' || helper.state.kind === 'ready';
        const wanted = workspace.isTrusted && reached && helper.place.unsupported() === null;
        const connect = wanted ? helper.place.connect() : null;
        if (!folder || !connect) return [];
        // The client process is the same program; only its word for what it is to do differs.
        const args = connect.args.map((word) => (word === 'connect' ? 'mcp' : word));
        const { version } = context.extension.packageJSON;
        const server = new McpStdioServerDefinition('Teleport Env', connect.command, args, { ...connect.env }, version);
        server.cwd = Uri.file(helper.place.toHelperPath(folder.uri.fsPath));
        return [server];
      },
    }),
  );
};
