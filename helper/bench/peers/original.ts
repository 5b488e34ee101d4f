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
    watched[:] = [int(sandbox.pid)]
    time.sleep(1)
    sandbox.checkpoint('snap_1')
program = lambda: open('/proc/%s/cmdline' % sandbox.pid).read()
# It prints each count, too, but in a file that is not taken back.
def count():
    while True:
        text = open('/proc/%s/cwd/count.txt' % sandbox.pid).read()
        if text: return int(text)  # else it was just being written
ran, counted = program(), count()
def check():
    deadline = time.time() + 5
    if program() != ran: raise SystemExit('the original: another program runs: ' + program())
    then = now = count()
    while now == then:
        if time.time() > deadline: raise SystemExit('the original: the counter does not go on')
        time.sleep(0.01)
        now = count()
    if not counted <= now <= counted + 4: raise SystemExit('the original: the counter is at %d, not at %d' % (now, counted))
try:
    print('ready', flush=True)
    for line in sys.stdin:
        time.sleep(0.2)
        begun = time.perf_counter()
        with quiet():
            sandbox.rollback('snap_1')
        took = (time.perf_counter() - begun) * 1000
        check()
        print(took, flush=True)
finally:
    subprocess.run(['kill', '-9', str(sandbox.pid)])
    time.sleep(0.2)
`;

export function isOriginal(dir: string): boolean {
  return existsSync(join(dir, 'teleport_env/core.py'));
}

export function original(checkout: string, criuDir: string): PythonPeer {
  return new PythonPeer('the original', PROGRAM, [checkout], criuDir);
}
