/** Plain CRIU and `cp -a`: what somebody writes by hand. Dump, copy the folder; then kill, copy back, restore. */
import { COUNTER_PY } from '../inside.ts';
import { PythonPeer } from './python-peer.ts';

const PROGRAM = `
import shutil, subprocess
home, work, saved, images = sys.argv[1], sys.argv[1] + '/work', sys.argv[1] + '/saved', sys.argv[1] + '/images'
os.mkdir(work)
open(home + '/counter.py', 'w').write(sys.argv[2])
null = subprocess.DEVNULL
child = subprocess.Popen(['python3', home + '/counter.py'], cwd=work, stdin=null, stdout=null, stderr=null, start_new_session=True)
watched[0] = child.pid
while not os.path.exists(work + '/count.txt'): time.sleep(0.02)
run = lambda *words: subprocess.run(words, check=True, stdout=null)
def checkpoint():
    run('criu', 'dump', '-v0', '-t', str(child.pid), '-D', images, '--shell-job', '--leave-running')
    run('cp', '-a', work, saved)
def rollback():
    os.kill(child.pid, 9)
    while os.path.exists('/proc/%d' % child.pid): time.sleep(0.0002)
    for name in os.listdir(work): os.unlink(work + '/' + name)
    run('cp', '-a', saved + '/.', work)
    run('criu', 'restore', '-v0', '-D', images, '--shell-job', '--restore-detached')
print('ready', flush=True)
for line in sys.stdin:
    what = line.strip()
    if what == 'checkpoint':
        shutil.rmtree(images, ignore_errors=True); shutil.rmtree(saved, ignore_errors=True); os.mkdir(images)
    begun = time.perf_counter()
    checkpoint() if what == 'checkpoint' else rollback()
    print((time.perf_counter() - begun) * 1000, flush=True)
os.kill(child.pid, 9)
`;

export function plainCriu(criuDir: string): PythonPeer {
  return new PythonPeer('plain CRIU', PROGRAM, [COUNTER_PY], criuDir);
}
