import { Signal } from '../signal.ts';
import type { Filter } from './timeline-model.ts';

/** An entry of the checkpoint timeline, by name. */
export interface Entry {
  readonly kind: 'entry';
  readonly sandbox: string;
  readonly id: string;
}

/** What the person chose in the views: the only state that isn't the helper's. */
export class Selection {
  private readonly signal = new Signal<'filter' | 'comparing'>();
  private filterNow: Filter | undefined;
  private comparingNow: Entry | undefined;
  /** Selected in the timeline right now. */
  entry: Entry | undefined;

  readonly onDidChange = this.signal.listen;

  get filter(): Filter | undefined {
    return this.filterNow;
  }

  set filter(filter: Filter | undefined) {
    this.filterNow = filter;
    this.signal.emit('filter');
  }

  get comparing(): Entry | undefined {
    return this.comparingNow;
  }

  set comparing(entry: Entry | undefined) {
    this.comparingNow = entry;
    this.signal.emit('comparing');
  }
}
