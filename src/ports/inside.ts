/** A port in a sandbox, as one asks for it. */
export interface Inside {
  readonly sandbox: string;
  /** Left out: the head, wherever it goes. */
  readonly branch?: string | undefined;
  readonly port: number;
}

export function forwardKey({ sandbox, branch, port }: Inside): string {
  return `${sandbox}/${branch ?? 'head'}/${port}`;
}
