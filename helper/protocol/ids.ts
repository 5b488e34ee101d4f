import * as z from 'zod';

/** A sandbox's id as the helper makes it: `s` and a number, unique per helper. People may use the name instead. */
export const SandboxId = z.string().regex(/^s[0-9]{1,9}$/, 'a sandbox id looks like s3');
/** A checkpoint's id: `k` and a number, unique in its sandbox and never given twice. `k0` is the root one. */
export const CheckpointId = z.string().regex(/^k[0-9]{1,9}$/, 'a checkpoint id looks like k3');
/** A branch's id: `b` and a number, unique in its sandbox and never given twice. */
export const BranchId = z.string().regex(/^b[0-9]{1,9}$/, 'a branch id looks like b3');
/** A session's id: `x` and a number, unique in its sandbox. A restored session keeps its id. */
export const SessionId = z.string().regex(/^x[0-9]{1,9}$/, 'a session id looks like x3');

export type SandboxId = z.infer<typeof SandboxId>;
export type CheckpointId = z.infer<typeof CheckpointId>;
export type BranchId = z.infer<typeof BranchId>;
export type SessionId = z.infer<typeof SessionId>;

/** A path inside the sandbox: absolute, no `.` or `..` part, no NUL. Bytes that are not UTF-8 are percent-escaped nowhere: such files are listed but can't be named. */
export const InsidePath = z
  .string()
  .max(4096)
  .refine((p) => p.startsWith('/') && !p.includes('\0'), 'a path inside a sandbox is absolute')
  .refine(
    (p) => !p.split('/').some((part) => part === '..' || part === '.'),
    'a path inside a sandbox has no . or .. part',
  );
