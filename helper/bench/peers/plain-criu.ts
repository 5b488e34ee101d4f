/** Plain CRIU and `cp -a`: what somebody writes by hand. Dump, copy the folder, go on; then kill, copy back, restore. */
import { filesSum, type Payload } from '../inside.ts';
import { PythonPeer } from './python-peer.ts';

const PROGRAM = `
import json, shutil, signal, subprocess
home, work, spec = sys.argv[1], sys.argv[1] + '/work', json.loads(sys.argv[2])
os.mkdir(work)
for name, text in spec['files'].items(): open(work + '/' + name, 'w').write(text)
null = subprocess.DEVNULL
child = subprocess.Popen(spec['argv'], cwd=work, stdin=null, stdout=null, stderr=null, start_new_session=True)
watched[:] = [child.pid]

def count():
    try: return int(open(work + '/count.txt').read() or 0)
    except FileNotFoundError: return 0
def tree():
    found = {}
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            stat = open('/proc/%s/stat' % pid).read().rsplit(') ', 1)[1].split()
            if int(stat[3]) == child.pid and stat[0] != 'Z': found[int(pid)] = open('/proc/%s/cmdline' % pid).read()
        except OSError: pass
    return found
def line(text): return subprocess.run(['bash', '-c', text], cwd=work, stdout=subprocess.PIPE, stdin=null, check=True).stdout
def witness(): return {'files': line(spec['sum']), 'processes': tree(), 'more': line(spec['more'])}
def wait_for(true, what):
    deadline = time.time() + 60
    while not true():
        if time.time() > deadline: raise SystemExit('plain CRIU: ' + what)
        time.sleep(0.002)
# Bytes 12 on are an entry of CRIU's stats.proto: dump (1) with freezing_time (1) and frozen_time (2), microseconds.
def fields(data):
    found, at = {}, 0
    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]; at += 1
            value |= (byte & 127) << shift; shift += 7
            if byte < 128: return value
    while at < len(data):
        key = number()
        if key & 7 == 0: found[key >> 3] = number()
        else:
            size = number()
            found[key >> 3] = data[at:at + size]; at += size
    return found
def stopped(images):
    dump = fields(fields(open(images + '/stats-dump', 'rb').read()[12:])[1])
    return (dump[1] + dump[2]) / 1000

run = lambda *words: subprocess.run(words, check=True, stdout=null)
known = {}
def checkpoint(images, saved):
    global stood
    run('criu', 'dump', '-v0', '-t', str(child.pid), '-D', images, '--shell-job', '--leave-stopped', '--file-locks', '--ghost-limit', '1G')
    dumped = time.perf_counter()
    # While all stand still: a database whose files are of another moment than its program is none.
    run('cp', '-a', work, saved)
    for pid in tree(): os.kill(pid, signal.SIGCONT)
    stood = stopped(images) + (time.perf_counter() - dumped) * 1000
def rollback(images, saved):
    pids = tree()
    watched[:] = pids
    for pid in pids: os.kill(pid, 9)
    while any(os.path.exists('/proc/%d' % pid) for pid in pids): time.sleep(0.0002)
    for entry in os.scandir(work): shutil.rmtree(entry.path) if entry.is_dir(follow_symlinks=False) else os.unlink(entry.path)
    run('cp', '-a', saved + '/.', work)
    run('criu', 'restore', '-v0', '-D', images, '--shell-job', '--file-locks', '--restore-detached')
def check(name, begun):
    before, then = known[name], count()
    now = witness()
    for what in now:
        if now[what] != before[what]: raise SystemExit('plain CRIU: %s are not what they were: %s, %s' % (what, before[what], now[what]))
    wait_for(lambda: count() > then, 'the program does not go on')
    most = before['count'] + (time.perf_counter() - begun) * 1000 / spec['period'] + 5
    # -1: it was just being written.
    if before['count'] != -1 and not before['count'] <= count() <= most: raise SystemExit('plain CRIU: the counter is at %d, not at %d' % (count(), before['count']))
try:
    wait_for(lambda: count() > 0, 'the program did not begin')
    answers = lambda: subprocess.run(['bash', '-c', spec['more']], cwd=work, stdin=null, stdout=null, stderr=null).returncode == 0
    wait_for(answers, 'the programs did not begin')
    print('ready', flush=True)
    for asked in sys.stdin:
        what, name = asked.strip().split(' ', 1)
        if what == 'do':
            line(name)
            print(0, flush=True)
            continue
        images, saved = home + '/images-' + name, home + '/saved-' + name
        if what == 'checkpoint':
            shutil.rmtree(images, ignore_errors=True); shutil.rmtree(saved, ignore_errors=True); os.mkdir(images)
        begun = time.perf_counter()
        {'checkpoint': checkpoint, 'rollback': rollback}[what](images, saved)
        took = (time.perf_counter() - begun) * 1000
        if what == 'rollback': check(name, begun)
        else: known[name] = {**witness(), 'count': int(open(saved + '/count.txt').read() or -1)}
        print(took, stood if what == 'checkpoint' else '', flush=True)
finally:
    for pid in tree(): os.kill(pid, 9)
`;

/** Its asks: `checkpoint NAME`, `rollback NAME`, each rollback checked; `do LINE`, in a shell of the folder. */
export function plainCriu(
  criuDir: string,
  { files, argv, moving, more = 'true' }: Payload,
  periodMs: number,
): PythonPeer {
  const spec = { files, argv, more, sum: filesSum(moving), period: periodMs };
  return new PythonPeer('plain CRIU', PROGRAM, [JSON.stringify(spec)], criuDir);
}
