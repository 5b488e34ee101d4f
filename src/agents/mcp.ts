/** Offers the MCP server to the editor's own agents, for the folder that is open. */
import { Disposable, EventEmitter, type ExtensionContext, lm, McpStdioServerDefinition, Uri, workspace } from 'vscode';
import type { Helper } from '../connection/helper.ts';
import type { Place } from '../connection/place.ts';

export const MCP_PROVIDER = 'teleport-env';

/** `helper`: for a place that has a way in only once it was reached, as a machine. */
export function mcpServer(context: ExtensionContext, place: Place, helper?: Helper): Disposable {
  // Came with VS Code 1.101; editors built on it may lack it.
  if (typeof lm?.registerMcpServerDefinitionProvider !== 'function') return new Disposable(() => {});
  const changed = new EventEmitter<void>();
  return Disposable.from(
    changed,
    workspace.onDidChangeWorkspaceFolders(() => changed.fire()),
    workspace.onDidGrantWorkspaceTrust(() => changed.fire()),
    helper?.onDidChangeState(({ kind }) => {
      if (kind === 'ready') changed.fire();
    }) ?? new Disposable(() => {}),
    lm.registerMcpServerDefinitionProvider(MCP_PROVIDER, {
      onDidChangeMcpServerDefinitions: changed.event,
      provideMcpServerDefinitions: () => {
        const folder = workspace.workspaceFolders?.find(({ uri }) => uri.scheme === 'file');
        const reached = helper === undefined || helper.state.kind === 'ready';
        const wanted = workspace.isTrusted && reached && place.unsupported() === null;
        const connect = wanted ? place.connect() : null;
        if (!folder || !connect) return [];
        // The client process is the same program; only its word for what it is to do differs.
        const args = connect.args.map((word) => (word === 'connect' ? 'mcp' : word));
        const { version } = context.extension.packageJSON;
        const server = new McpStdioServerDefinition('Teleport Env', connect.command, args, { ...connect.env }, version);
        server.cwd = Uri.file(place.toHelperPath(folder.uri.fsPath));
        return [server];
      },
    }),
  );
}
