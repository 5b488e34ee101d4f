/**
 * The original teleport-env (Python), from a checkout that the caller names: its `TeleportSandbox`, driven natively as its own
 * benchmark does. It measures no checkpoint, so only rollbacks are compared.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { PythonPeer } from './python-peer.ts';

const PROGRAM = `
import contextlib, io, subprocess
sys.path.insert(0, sys.argv[2])
os.chdir(sys.argv[1])
from teleport_env.core import TeleportSandbox
quiet = lambda: contextlib.redirect_stdout(io.StringIO())
with quiet():
    sandbox = TeleportSandbox(container_name=None, base_dir=sys.argv[1] + '/sandbox')
    os.makedirs(sandbox.base_dir, exist_ok=True)
    sandbox.start_app(sys.argv[2] + '/tests/counter_server.py')
    watched[0] = int(sandbox.pid)
    time.sleep(1)
    sandbox.checkpoint('snap_1')
print('ready', flush=True)
for line in sys.stdin:
    time.sleep(0.2)
    begun = time.perf_counter()
    with quiet():
        sandbox.rollback('snap_1')
    print((time.perf_counter() - begun) * 1000, flush=True)
subprocess.run(['kill', '-9', str(sandbox.pid)])
time.sleep(0.2)
`;

export function isOriginal(dir: string): boolean {
  return existsSync(join(dir, 'teleport_env/core.py'));
}

export function original(checkout: string, criuDir: string): PythonPeer {
  return new PythonPeer('the original', PROGRAM, [checkout], criuDir);
}
