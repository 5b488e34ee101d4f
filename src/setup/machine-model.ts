import type { Instance, State } from '../connection/multipass/outputs.ts';
import { t } from '../l10n.ts';

/** The machine as a line of its view. */
export interface MachineLine {
  readonly label: string;
  readonly description: string;
  readonly running: boolean;
  /** For the menus: `machine running`, `machine resting`, `machine moving`. */
  readonly context: string;
  readonly tooltip: string;
}

type Kind = 'running' | 'resting' | 'moving';

function kindOf(state: State): Kind {
  switch (state) {
    case 'Running':
      return 'running';
    case 'Stopped':
    case 'Suspended':
    case 'Deleted':
      return 'resting';
    default:
      return 'moving';
  }
}

function stateWords(state: State): string {
  switch (state) {
    case 'Running':
      return t('running');
    case 'Stopped':
      return t('stopped');
    case 'Suspended':
      return t('suspended');
    case 'Deleted':
      return t('in Multipass’s trash');
    case 'Starting':
    case 'Restarting':
      return t('starting');
    case 'Suspending':
      return t('suspending');
    case 'Delayed Shutdown':
      return t('about to stop');
    case 'Unknown':
      return t('in a state that Multipass does not tell');
  }
}

const gigabytes = (bytes: number) => (bytes / 2 ** 30).toFixed(1);

export function machineLine({ name, state, release, disk, memory, addresses }: Instance): MachineLine {
  const room = disk && t('{0} of {1} GB', gigabytes(disk.used), gigabytes(disk.total));
  return {
    label: name,
    description: [stateWords(state), room].filter(Boolean).join(' · '),
    running: state === 'Running',
    context: `machine ${kindOf(state)}`,
    tooltip: [
      release && t('{0}, made with Multipass', release),
      room && t('Disk: {0}', room),
      memory && t('Memory: {0} GB', gigabytes(memory)),
      addresses[0] && t('Address: {0}', addresses[0]),
    ]
      .filter(Boolean)
      .join('\n'),
  };
}
