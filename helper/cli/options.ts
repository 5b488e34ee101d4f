/** Readers for options' values, and the option that several commands share. */
import { type Command, InvalidArgumentError } from 'commander';

/** Where one will probably go next. The value is read by `asCheckpoints`: what is no checkpoint has an error of its own. */
export function expecting(command: Command): Command {
  return command.option(
    '--expect <checkpoints>',
    'prepare up to three (k5,k7), where you will probably go next: about 2 ms then; holds until given again, none ends it',
  );
}

/** For an option that may be given several times. */
export function collect(value: string, before: string[] = []): string[] {
  return [...before, value];
}

export function oneOf<const T extends string>(...values: T[]): (value: string) => T {
  return (value) => {
    if (values.includes(value as T)) return value as T;
    throw new InvalidArgumentError(`Allowed: ${values.join(', ')}.`);
  };
}

export function wholeNumber(value: string): number {
  if (!/^[0-9]{1,15}$/.test(value)) throw new InvalidArgumentError('A whole number is wanted.');
  return Number(value);
}

export function positive(value: string): number {
  const number = wholeNumber(value);
  if (number < 1) throw new InvalidArgumentError('At least 1 is wanted.');
  return number;
}

/** Seconds, to milliseconds. */
export function seconds(value: string): number {
  const number = Number(value);
  if (value.trim() === '' || !(number > 0) || number > 2_000_000)
    throw new InvalidArgumentError('Seconds are wanted, such as 2.5.');
  return Math.max(1, Math.round(number * 1000));
}

/** `500M`, `2G`: bytes. */
export function size(value: string): number {
  const match = /^([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)(i?)b?$/i.exec(value);
  if (!match) throw new InvalidArgumentError('A size is wanted, such as 500M or 2G.');
  const power = ['', 'k', 'm', 'g', 't'].indexOf(match[2]!.toLowerCase());
  return Math.round(Number(match[1]) * (match[3] ? 1024 : 1000) ** power);
}

/** `90s`, `20m`, `12h`, `7d`: milliseconds. */
export function span(value: string): number {
  const match = /^([0-9]+(?:\.[0-9]+)?)(s|m|h|d)$/.exec(value);
  if (!match) throw new InvalidArgumentError('A time is wanted, such as 12h or 7d.');
  const unit = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }[match[2] as 's' | 'm' | 'h' | 'd'];
  return Math.round(Number(match[1]) * unit);
}

/** A folder's path. An empty one, from a variable that is not set, would mean the current folder. */
export function folderPath(value: string): string {
  if (value === '') throw new InvalidArgumentError('A folder is wanted, not an empty word.');
  return value;
}
