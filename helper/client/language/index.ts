/** The language server for run documents, in the client process: documents that the editor opens, and what is shown on them. */
import { fileURLToPath } from 'node:url';
import type { MessageConnection } from 'vscode-jsonrpc/node';
import type {
  CodeActionParams,
  CodeLensParams,
  DidChangeTextDocumentParams,
  DidCloseTextDocumentParams,
  DidOpenTextDocumentParams,
  HoverParams,
  InitializeParams,
  InlayHintParams,
  ServerCapabilities,
} from 'vscode-languageserver';
import { actionsOf, diagnosticsOf, hintsOf, hoverOf, lensesOf } from './features.ts';
import { Tracked } from './tracked.ts';
import { type ShownStep, shown, type Walked } from './view.ts';

/** The whole text with each change: run documents are short. */
const FULL_SYNC = 1;

export const CAPABILITIES: ServerCapabilities = {
  textDocumentSync: { openClose: true, change: FULL_SYNC },
  codeLensProvider: {},
  hoverProvider: true,
  inlayHintProvider: true,
  codeActionProvider: { codeActionKinds: ['quickfix'] },
};

interface Open {
  text: string;
  version: number;
  steps: Promise<ShownStep[]>;
}

export class LanguageFeatures {
  private readonly open = new Map<string, Open>();
  private readonly walks = new Map<string, Walked>();
  private tracked = new Tracked([]);

  constructor(private readonly editor: MessageConnection) {
    editor.onNotification('textDocument/didOpen', ({ textDocument }: DidOpenTextDocumentParams) =>
      this.take(textDocument.uri, textDocument.text, textDocument.version),
    );
    editor.onNotification('textDocument/didChange', ({ textDocument, contentChanges }: DidChangeTextDocumentParams) => {
      const last = contentChanges.at(-1);
      if (last) this.take(textDocument.uri, last.text, textDocument.version);
    });
    editor.onNotification('textDocument/didClose', ({ textDocument: { uri } }: DidCloseTextDocumentParams) => {
      this.open.delete(uri);
      this.publish(uri, []);
    });
    editor.onRequest('textDocument/codeLens', async ({ textDocument: { uri } }: CodeLensParams) =>
      lensesOf(uri, await this.steps(uri)),
    );
    editor.onRequest('textDocument/hover', async ({ textDocument, position }: HoverParams) =>
      hoverOf(await this.steps(textDocument.uri), position),
    );
    editor.onRequest('textDocument/inlayHint', async ({ textDocument, range }: InlayHintParams) =>
      hintsOf(await this.steps(textDocument.uri), range),
    );
    editor.onRequest('textDocument/codeAction', async ({ textDocument: { uri }, range }: CodeActionParams) =>
      actionsOf(uri, await this.steps(uri), range),
    );
  }

  /** From the editor's `initialize`. */
  begin(params: InitializeParams | undefined): ServerCapabilities {
    const folders = (params?.workspaceFolders ?? []).flatMap(({ uri }) =>
      uri.startsWith('file:') ? [fileURLToPath(uri)] : [],
    );
    this.tracked = new Tracked(folders);
    return CAPABILITIES;
  }

  /** A walk went on: what stands on the document's lines is no longer true. */
  stepped(walk: Walked): void {
    if (walk.steps.length === 0) this.walks.delete(walk.uri);
    else this.walks.set(walk.uri, walk);
    const document = this.open.get(walk.uri);
    if (!document) return;
    this.take(walk.uri, document.text, document.version);
    for (const feature of ['codeLens', 'inlayHint'])
      this.editor.sendRequest(`workspace/${feature}/refresh`).catch(() => undefined);
  }

  private async steps(uri: string): Promise<ShownStep[]> {
    return (await this.open.get(uri)?.steps) ?? [];
  }

  private take(uri: string, text: string, version: number): void {
    const document: Open = { text, version, steps: this.look(uri, text) };
    this.open.set(uri, document);
    document.steps.then(
      (steps) => this.open.get(uri) === document && this.publish(uri, steps, version),
      () => undefined,
    );
  }

  private async look(uri: string, text: string): Promise<ShownStep[]> {
    const { readDocument } = await import('../documents/read.ts');
    const { hazardsIn } = await import('../documents/hazards/index.ts');
    const [document, tracked] = await Promise.all([readDocument(text), this.tracked.ask()]);
    const hazards = await Promise.all(document.steps.map(({ command }) => hazardsIn(command, { tracked })));
    return shown(document, this.walks.get(uri), hazards);
  }

  private publish(uri: string, steps: ShownStep[], version?: number): void {
    void this.editor
      .sendNotification('textDocument/publishDiagnostics', { uri, version, diagnostics: diagnosticsOf(steps) })
      .catch(() => undefined);
  }
}
