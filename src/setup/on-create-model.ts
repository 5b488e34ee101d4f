export interface OnCreate {
  readonly command: string;
  readonly from: 'user' | 'settings' | 'devcontainer';
  /** It came with the folder: shown and asked about before it runs. */
  readonly ask: boolean;
}

/**
 * @param user what the user's own settings say
 * @param folder what the folder's settings say; an empty one there wants none, devcontainer.json or not
 * @param devcontainer its postCreateCommand
 */
export function chooseOnCreate(
  user: string | undefined,
  folder: string | undefined,
  devcontainer: string | null,
  trusted: boolean,
): OnCreate | undefined {
  const given = (text: string | null | undefined) => (text?.trim() ? text.trim() : undefined);
  const own = given(user);
  if (trusted && folder !== undefined) {
    const command = given(folder);
    return command === undefined ? undefined : { command, from: 'settings', ask: command !== own };
  }
  if (own !== undefined) return { command: own, from: 'user', ask: false };
  const command = given(devcontainer);
  return trusted && command !== undefined ? { command, from: 'devcontainer', ask: true } : undefined;
}

/** As the helper has it for a line that was cancelled. */
const CANCELLED = 130;

export function outcomeOf(exitCode: number): 'done' | 'cancelled' | 'failed' {
  return exitCode === 0 ? 'done' : exitCode === CANCELLED ? 'cancelled' : 'failed';
}
