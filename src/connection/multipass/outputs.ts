/** What `multipass … --format json` prints. Unknown keys are for later versions to add and are let through. */
import * as z from 'zod';

const State = z.enum([
  'Running',
  'Stopped',
  'Deleted',
  'Starting',
  'Restarting',
  'Delayed Shutdown',
  'Suspending',
  'Suspended',
  'Unknown',
]);
export type State = z.infer<typeof State>;

/** A state of a later version is as good as one that multipass doesn't know itself. */
const AnyState = z.string().transform((text): State => State.safeParse(text).data ?? 'Unknown');
const Addresses = z.array(z.string()).default([]);

export const Version = z.object({ multipass: z.string(), multipassd: z.string().optional() });

export const List = z.object({
  list: z.array(z.object({ name: z.string(), state: AnyState, ipv4: Addresses, release: z.string().optional() })),
});

const Disk = z.object({ total: z.string().optional(), used: z.string().optional() });
const Details = z.object({
  state: AnyState,
  ipv4: Addresses,
  release: z.string().optional(),
  cpu_count: z.string().optional(),
  /** Bytes, as strings; empty while it doesn't run. */
  disks: z.record(z.string(), Disk).default({}),
  /** Bytes, as numbers. */
  memory: z.object({ total: z.number().optional(), used: z.number().optional() }).default({}),
});
export const Info = z.object({ errors: z.array(z.unknown()).default([]), info: z.record(z.string(), Details) });

/** What we go by. */
export interface Instance {
  readonly name: string;
  readonly state: State;
  /** None while it doesn't run; the first is the one that this host reaches. */
  readonly addresses: readonly string[];
  readonly release?: string;
  /** Bytes, where it is known. */
  readonly disk?: { readonly total: number; readonly used: number };
  readonly memory?: number;
}

type Described = { name: string; state: State; ipv4: string[]; release?: string } & Partial<z.infer<typeof Details>>;

export function instanceOf({ name, state, ipv4, release, disks, memory }: Described): Instance {
  const [disk] = Object.values(disks ?? {});
  const total = Number(disk?.total);
  const used = Number(disk?.used);
  return {
    name,
    state,
    addresses: ipv4.filter((address) => /^\d+(\.\d+){3}$/.test(address)),
    ...(release ? { release } : {}),
    ...(total > 0 && used >= 0 ? { disk: { total, used } } : {}),
    ...(memory?.total ? { memory: memory.total } : {}),
  };
}
