/**
 * runc, with the counter in a container on the host's own programs: checkpoint and restore by CRIU with `cp -a` of the files
 * (runc keeps none), and the container ended and run anew. The bundle has no tmpfs, which would cost CRIU a `tar` each way.
 */
import { COUNTER_PY } from '../inside.ts';
import { ROOT } from './container-root.ts';
import { PythonPeer } from './python-peer.ts';

const PROGRAM = `
import json, shutil, subprocess
${ROOT}
saved, images, logs = home + '/saved', home + '/images', home + '/logs'
config = {
    'ociVersion': '1.0.2', 'hostname': 'peer', 'root': {'path': 'rootfs', 'readonly': False},
    'process': {'terminal': False, 'user': {'uid': 0, 'gid': 0}, 'args': ['python3', '/counter.py'], 'env': ['PATH=/usr/bin:/bin'], 'cwd': '/work', 'noNewPrivileges': True},
    'mounts': [{'destination': '/proc', 'type': 'proc', 'source': 'proc'},
               {'destination': '/usr', 'type': 'bind', 'source': '/usr', 'options': ['rbind', 'ro']},
               {'destination': '/work', 'type': 'bind', 'source': work, 'options': ['rbind', 'rw']}],
    'linux': {'namespaces': [{'type': kind} for kind in ('pid', 'ipc', 'uts', 'mount', 'network')]},
}
json.dump(config, open(home + '/config.json', 'w'))
def runc(*words):
    done = subprocess.run(['runc', '--root', home + '/state', *words], stdin=null, stdout=null, stderr=open(home + '/said', 'w'))
    if done.returncode:
        said = open(home + '/said').read().strip()
        for log in ('dump', 'restore'):
            path = logs + '/' + log + '.log'
            if os.path.exists(path): said += ' ' + ' '.join(l.strip() for l in open(path, errors='replace') if 'Error' in l)
        raise SystemExit('runc ' + words[0] + ': ' + said)
name = 'bench-%d' % os.getpid()
def run():
    # Descriptors of the host's would be in the image, and CRIU finds their mount no more.
    subprocess.run(['runc', '--root', home + '/state', 'run', '-d', '--pid-file', home + '/pid', '--bundle', home, name], stdin=null, stdout=null, stderr=null).check_returncode()
    watched[:] = [int(open(home + '/pid').read())]
def checkpoint():
    runc('checkpoint', '--leave-running', '--image-path', images, '--work-path', logs, name)
    subprocess.run(['cp', '-a', work, saved], check=True)
def rollback():
    runc('delete', '-f', name)
    for entry in os.listdir(work): os.unlink(work + '/' + entry)
    subprocess.run(['cp', '-a', saved + '/.', work], check=True)
    subprocess.run(['runc', '--root', home + '/state', 'restore', '-d', '--pid-file', home + '/pid', '--image-path', images, '--work-path', logs, '--bundle', home, name], stdin=null, stdout=null, stderr=null).check_returncode()
    watched[:] = [int(open(home + '/pid').read())]
def command(): return open('/proc/%d/cmdline' % watched[0]).read()
def restart():
    runc('delete', '-f', name)
    os.unlink(counted)
    run()
    wait_for(lambda: count() >= 1)
try:
    run()
    wait_for(lambda: count() >= 1)
    ran = command()
    print('ready', flush=True)
    for line in sys.stdin:
        what = line.split()[0]
        if what == 'checkpoint':
            shutil.rmtree(images, ignore_errors=True); shutil.rmtree(saved, ignore_errors=True)
        begun = time.perf_counter()
        {'checkpoint': checkpoint, 'rollback': rollback, 'restart': restart}[what]()
        took = (time.perf_counter() - begun) * 1000
        if what == 'rollback':
            # It counts on from where it was: neither anew, nor from where it had come to.
            before = int(open(saved + '/count.txt').read() or 0)
            if command() != ran: raise SystemExit('runc restore: another program runs: ' + command())
            if os.listdir(work) != ['count.txt']: raise SystemExit('runc restore: other files: %s' % os.listdir(work))
            wait_for(lambda: count() > before)
            if count() > before + 40: raise SystemExit('runc restore: the counter is at %d, not at %d' % (count(), before))
        print(took, flush=True)
finally:
    subprocess.run(['runc', '--root', home + '/state', 'delete', '-f', name], stdin=null, stdout=null, stderr=null)
`;

/** Its asks: `checkpoint`, `rollback`, `restart`. */
export function runc(criuDir: string): PythonPeer {
  return new PythonPeer('runc', PROGRAM, [COUNTER_PY], criuDir);
}
