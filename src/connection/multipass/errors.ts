/** What multipass fails with, in kinds that code can tell apart and words that people can act on. */
import { t } from '../../l10n.ts';
import type { Instance } from './outputs.ts';

export type MultipassErrorCode =
  | 'notInstalled'
  | 'tooOld'
  | 'daemonDown'
  | 'noInstance'
  | 'instanceDeleted'
  | 'instanceExists'
  /** An instance of that name that we did not make. */
  | 'notOurs'
  | 'noDisk'
  | 'noMemory'
  | 'noHypervisor'
  | 'unknownImage'
  | 'noNetwork'
  /** The machine may come up later: go on asking. */
  | 'initTimeout'
  | 'launchTimeout'
  /** It was asked and didn't answer. */
  | 'hanging'
  /** The guest answers neither over exec nor over ssh. */
  | 'unreachable'
  | 'provisioning'
  | 'unexpectedOutput'
  | 'cancelled'
  | 'failed';

export class MultipassError extends Error {
  constructor(
    readonly code: MultipassErrorCode,
    message: string,
    readonly hint?: string,
    options?: { cause?: unknown },
  ) {
    super(message, options);
    this.name = 'MultipassError';
  }
}

/** How a run of the command ended. `exitCode` undefined: it never ran, or was killed. */
export interface Ended {
  readonly exitCode: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
  /** Of the spawn itself: `ENOENT`. */
  readonly errno?: string;
  readonly timedOut?: boolean;
  readonly cancelled?: boolean;
}

/** Multipass's own: a command line it doesn't know, a command that failed, a daemon that did not answer, `--timeout`. */
const EXIT = { usage: 1, command: 2, daemon: 3, timeout: 5 } as const;

interface Rule {
  readonly text: RegExp;
  readonly code: MultipassErrorCode;
  readonly words: (found: RegExpMatchArray, name: string) => string;
  readonly hint?: (platform: NodeJS.Platform, found: RegExpMatchArray) => string;
}

const gigabytes = (bytes: string) => `${(Number(bytes) / 1e9).toFixed(1)} GB`;

/** In the order in which they are tried. The texts are those of multipass 1.14 to 1.16. */
const RULES: readonly Rule[] = [
  {
    text: /cannot connect to the multipass socket|failed to connect to (all|any) addresses|connection refused/i,
    code: 'daemonDown',
    words: () => t('Multipass’s daemon does not answer.'),
    hint: (platform) => daemonHint(platform),
  },
  {
    text: /timed out waiting for initialization to complete/,
    code: 'initTimeout',
    words: (_, name) => t('{0} did not finish its first boot in time.', name),
  },
  {
    text: /Timed out waiting for (instance launch|response|SSH)/i,
    code: 'launchTimeout',
    words: (_, name) => t('Multipass did not finish with {0} in time.', name),
  },
  {
    text: /instance "[^"]*" does not exist/,
    code: 'noInstance',
    words: (_, name) => t('There is no machine {0}.', name),
    hint: () => t('Set it up: Teleport Env: Set up Linux machine.'),
  },
  {
    text: /instance "[^"]*" is deleted/,
    code: 'instanceDeleted',
    words: (_, name) => t('The machine {0} was deleted, and can be recovered.', name),
    hint: () => t('Set it up again: Teleport Env: Set up Linux machine. It is taken out of Multipass’s trash.'),
  },
  {
    text: /already exists/,
    code: 'instanceExists',
    words: (_, name) => t('There is a machine {0} already.', name),
  },
  {
    text: /Available disk \((\d+) bytes\) below minimum for this image \((\d+) bytes\)/,
    code: 'noDisk',
    words: (found) =>
      t('The disk has {0} left, and the machine’s image takes {1}.', gigabytes(found[1]!), gigabytes(found[2]!)),
    hint: () => t('Make room on the disk that Multipass keeps its machines on, then try again.'),
  },
  {
    text: /Requested disk .* below minimum for this image/,
    code: 'noDisk',
    words: () => t('The machine’s disk is set smaller than its image.'),
    hint: () => t('Raise the setting teleportEnv.machine.disk.'),
  },
  {
    text: /Unable to find an image matching|unknown image|is not a supported (alias|image)/i,
    code: 'unknownImage',
    words: () => t('Multipass does not know the image.'),
    hint: () =>
      t('Set teleportEnv.machine.image to one that “multipass find” lists, such as 24.04, or update Multipass.'),
  },
  {
    text: /KVM|Hyper-V|hypervisor|virtuali[sz]ation|VirtualBox/i,
    code: 'noHypervisor',
    words: (found) => t('Multipass has no working hypervisor here ({0}).', found[0]),
    hint: (platform) =>
      platform === 'win32'
        ? t('Turn on Hyper-V (Windows Pro), or install VirtualBox and run: multipass set local.driver=virtualbox')
        : t('Turn on virtualization in the firmware, and see “multipass get local.driver”.'),
  },
  {
    text: /Could not resolve host|Host .* not found|network (is )?unreachable|failed to download|Download error/i,
    code: 'noNetwork',
    words: () => t('Multipass could not download the image.'),
    hint: () => t('Check the network and its proxy, then try again: what was downloaded is kept.'),
  },
];

/**
 * From how a run ended to the error that it means.
 * @param asked what was asked for, as in `multipass launch`
 */
export function classify(asked: string, name: string, ended: Ended, platform: NodeJS.Platform): MultipassError {
  if (ended.cancelled) return new MultipassError('cancelled', t('Cancelled.'));
  if (ended.errno === 'ENOENT' || ended.errno === 'EACCES')
    return new MultipassError('notInstalled', t('Multipass is not installed.'), installHint(platform));
  if (ended.timedOut)
    return new MultipassError('hanging', t('multipass {0} did not end by itself.', asked), daemonHint(platform));
  const text = `${ended.stderr}\n${ended.stdout}`;
  for (const { text: pattern, code, words, hint } of RULES) {
    const found = text.match(pattern);
    if (found) return new MultipassError(code, words(found, name), hint?.(platform, found));
  }
  const last = lastLine(ended.stderr) || lastLine(ended.stdout);
  if (ended.exitCode === EXIT.timeout)
    return new MultipassError('launchTimeout', t('Multipass did not finish with {0} in time.', name));
  if (ended.exitCode === EXIT.daemon)
    return new MultipassError('daemonDown', t('Multipass’s daemon failed: {0}', last), daemonHint(platform));
  if (ended.exitCode === EXIT.usage)
    return new MultipassError(
      'tooOld',
      t('This Multipass does not understand “multipass {0}”: {1}', asked, last),
      updateHint(platform),
    );
  return new MultipassError('failed', t('multipass {0} failed: {1}', asked, last || `exit ${ended.exitCode}`));
}

function lastLine(text: string): string {
  return (
    text
      .trim()
      .split(/[\r\n]+/)
      .at(-1)
      ?.trim() ?? ''
  );
}

export function installHint(platform: NodeJS.Platform): string {
  switch (platform) {
    case 'win32':
      return t('Install it: winget install Canonical.Multipass, then open the editor anew.');
    case 'darwin':
      return t('Install it: brew install --cask multipass');
    default:
      return t('Install it: sudo snap install multipass');
  }
}

export function updateHint(platform: NodeJS.Platform): string {
  switch (platform) {
    case 'win32':
      return t('Update it: winget upgrade Canonical.Multipass');
    case 'darwin':
      return t('Update it: brew upgrade --cask multipass');
    default:
      return t('Update it: sudo snap refresh multipass');
  }
}

function daemonHint(platform: NodeJS.Platform): string {
  switch (platform) {
    case 'win32':
      return t('Start it, in a terminal with administrator rights: net start Multipass');
    case 'darwin':
      return t('Start it: sudo launchctl kickstart -k system/com.canonical.multipassd');
    default:
      return t('Start it: sudo snap restart multipass');
  }
}

/** A machine of our name that somebody else made: it is left alone. */
export function notOurs({ name }: Instance): MultipassError {
  return new MultipassError(
    'notOurs',
    t('There is a machine {0} that was not made by Teleport Env.', name),
    t('It is left alone. Choose another name: the setting teleportEnv.machine.name.'),
  );
}
