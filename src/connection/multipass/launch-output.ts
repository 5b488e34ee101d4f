/** What `multipass launch` says while it works, as steps that people can follow. Plain functions. */
import { t } from '../../l10n.ts';

/** One thing that a launch is at. */
export type StageName = 'find' | 'check' | 'image' | 'boot' | 'initialize' | 'reach' | 'provision' | 'doctor';

export interface Step {
  readonly stage: StageName;
  readonly message: string;
  /** Of `total`; both left out where nobody knows. */
  readonly done?: number;
  readonly total?: number;
}

export type Report = (step: Step) => void;

/** What the images take over the line, in MB, by release; multipass tells only per cent. The largest of those that are known otherwise. */
const IMAGE_MB: { readonly [release: string]: number } = { '22.04': 680, '24.04': 600, '26.04': 650 };
const OTHER_MB = 700;

export function imageMegabytes(image: string): number {
  return IMAGE_MB[image] ?? OTHER_MB;
}

/**
 * Reads output in whatever pieces it comes: parts are divided by carriage returns and line ends, and one that isn't
 * finished is looked at again when more has come.
 */
export function launchOutput(image: string, report: Report): (text: string) => void {
  let rest = '';
  let last = '';
  return (text) => {
    const parts = `${rest}${text}`.split(/[\r\n]+/);
    rest = parts.at(-1) ?? '';
    for (const part of parts) {
      const step = stepOf(part, image);
      if (!step || step.message === last) continue;
      last = step.message;
      report(step);
    }
  };
}

/** Null where a line tells nothing new. */
export function stepOf(line: string, image: string): Step | null {
  const retrieving = line.match(/Retrieving image:\s*(\d+)%/);
  if (retrieving) {
    const done = Number(retrieving[1]);
    const total = imageMegabytes(image);
    const megabytes = Math.round((done * total) / 100);
    return {
      stage: 'image',
      message: t('Downloading Ubuntu {0}: {1} of about {2} MB', image, megabytes, total),
      done,
      total: 100,
    };
  }
  if (/Extracting image/.test(line)) return { stage: 'image', message: t('Unpacking the image') };
  if (/Verifying image/.test(line)) return { stage: 'image', message: t('Checking the image') };
  if (/Preparing image/.test(line)) return { stage: 'image', message: t('Preparing the image') };
  if (/^\W*(Creating|Configuring) /.test(line)) return { stage: 'boot', message: t('Making the machine') };
  if (/^\W*Starting /.test(line)) return { stage: 'boot', message: t('Starting the machine') };
  if (/Waiting for initialization/.test(line)) return { stage: 'initialize', message: t('Waiting for its first boot') };
  return null;
}
