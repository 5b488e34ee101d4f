/** What stepping has of the world, so that it can be tested without an editor. */
import type { NotificationName, NotificationParams } from '../../helper/protocol/methods.ts';
import type { Asked, AskParams, AskResult } from '../connection/helper.ts';

export interface World {
  /** `patient`: it may take as long as it takes. */
  ask<M extends Asked>(method: M, params: AskParams<M>, options?: { patient?: boolean }): Promise<AskResult<M>>;
  /** @returns how to stop listening */
  on<N extends NotificationName>(name: N, listener: (params: NotificationParams<N>) => void): () => void;
  /** The text of the file to step through, unsaved changes included. */
  read(program: string): Promise<string>;
  /** The address under which the editor and its language server know that file. */
  uri(program: string): string;
}
