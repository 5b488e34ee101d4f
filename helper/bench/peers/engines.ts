/** Container engines with podman's words, docker too: the counter's container restarted, files left as they are. */
import { COUNTER_PY } from '../inside.ts';
import { ROOT } from './container-root.ts';
import { PythonPeer } from './python-peer.ts';

const PROGRAM = `
import subprocess
${ROOT}
engine = sys.argv[3]
words = [engine]
if engine == 'podman':
    words += ['--root', home + '/storage', '--runroot', home + '/run', '--tmpdir', home + '/tmp', '--storage-driver', 'vfs', '--cgroup-manager', 'cgroupfs', '--events-backend', 'none']
def ask(*more, **options):
    done = subprocess.run([*words, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    if done.returncode: raise SystemExit(engine + ' ' + more[0] + ': ' + done.stderr.strip())
locks, name = '/dev/shm/libpod_lock', 'teleport-bench-%d' % os.getpid()
had_locks = os.path.exists(locks)
try:
    files = subprocess.Popen(['tar', '-C', rootfs, '-c', '.'], stdout=subprocess.PIPE)
    ask('import', '-', name, stdin=files.stdout)
    # Limits of their own choosing are above what a root without CAP_SYS_RESOURCE may set.
    ask('run', '-d', '--name', name, '--ulimit', 'nofile=1024:1024', '--ulimit', 'nproc=1024:1024', '--network', 'none', '--log-driver', 'none',
        '-v', '/usr:/usr:ro', '-v', work + ':/work', '-w', '/work', name, 'python3', '/counter.py', stdin=null)
    wait_for(lambda: count() >= 1)
    print('ready', flush=True)
    for line in sys.stdin:
        os.unlink(counted)
        begun = time.perf_counter()
        ask('restart', *(['-t', '0'] if line.strip() == 'restart at once' else []), name)
        wait_for(lambda: count() >= 1)
        print((time.perf_counter() - begun) * 1000, flush=True)
finally:
    for more in (['rm', '-f', name], ['rmi', '-f', name]): subprocess.run([*words, *more], stdout=null, stderr=null)
    if os.path.exists(locks) and not had_locks: os.unlink(locks)
`;

export const ENGINES = ['podman', 'docker'] as const;

/** Its asks: `restart at once` (as with -t 0), `restart` (with the stop timeout that it has by default). */
export function engine(name: (typeof ENGINES)[number], criuDir: string): PythonPeer {
  return new PythonPeer(name, PROGRAM, [COUNTER_PY, name], criuDir);
}
