/** What this CRIU can do on this kernel: asked once, instead of found out half-way. */
import { execFile } from 'node:child_process';
import { explain } from './criu-log.ts';
import { type CriuLaunch, NoAnswer } from './criu-process.ts';
import { RequestType } from './criu-rpc.ts';
import { converse } from './criu-swrk.ts';

/** What this CRIU can do on this kernel. */
export type CheckResult =
  | {
      ok: true;
      /** `[major, minor, sublevel]` */
      version: [number, number, number];
      /** Names of our patches that this build has (scripts/criu/), none in a distribution's. */
      patches: string[];
      /** The kernel can tell written pages, so `trackMem` works. */
      memTrack: boolean;
      lazyPages: boolean;
    }
  | { ok: false; version: [number, number, number] | undefined; reason: string };

/**
 * Asks CRIU's version and lets it probe the kernel (about 50 ms, unless it has kept the answer: `openRun`). Never rejects: what stands
 * in the way is the answer.
 */
export async function check(launch: CriuLaunch): Promise<CheckResult> {
  const ask = { onNotify: async () => false };
  let version: [number, number, number] | undefined;
  try {
    const { response: asked } = await converse(launch, { type: RequestType.version }, ask);
    const v = asked.version;
    if (!v) return { ok: false, version, reason: 'This CRIU does not tell its version, so it is older than 3.13.' };
    version = [v.major, v.minor, v.sublevel ?? 0];
    const patches = v.gitid?.startsWith('teleport-env/') ? (v.gitid.split('/')[2] ?? '').split(',') : [];
    const probe = await probeKernel(launch);
    if (!probe.ok) return { ok: false, version, reason: explain(probe.output).summary };
    const { response } = await converse(
      launch,
      { type: RequestType.featureCheck, features: { memTrack: true, lazyPages: true } },
      ask,
    );
    return {
      ok: true,
      version,
      patches,
      memTrack: response.features?.memTrack ?? false,
      lazyPages: response.features?.lazyPages ?? false,
    };
  } catch (error) {
    const said = error instanceof NoAnswer && error.stderr ? ` It said: ${error.stderr.trim()}` : '';
    const cause = (error as Error).cause;
    return {
      ok: false,
      version,
      reason: `${(error as Error).message}${cause ? ` (${(cause as Error).message})` : ''}.${said}`,
    };
  }
}

/** `criu check`, whose output is the same in all versions, where the RPC's request for it is not. */
function probeKernel(launch: CriuLaunch): Promise<{ ok: boolean; output: string }> {
  const [command, ...args] = [...(launch.prefix ?? []), launch.binary, 'check'];
  return new Promise((resolve) => {
    execFile(command!, args, { env: launch.env ?? {}, timeout: 30_000 }, (error, stdout, stderr) => {
      resolve({ ok: !error, output: `${stdout}\n${stderr}` });
    });
  });
}
