/**
 * Python for the peers that are containers: a root of the host's own programs with the counter in it, and how one knows how far
 * that has counted. argv: the peer's folder, the counter's source.
 */
export const ROOT = `
home, work, rootfs = sys.argv[1], sys.argv[1] + '/work', sys.argv[1] + '/rootfs'
null = subprocess.DEVNULL
os.mkdir(work)
for folder in ('proc', 'dev', 'usr', 'etc', 'work', 'tmp', 'sys'): os.makedirs(rootfs + '/' + folder)
for link in ('bin', 'lib', 'lib64', 'sbin'): os.symlink('usr/' + link, rootfs + '/' + link)
open(rootfs + '/counter.py', 'w').write(sys.argv[2])
counted = work + '/count.txt'
def count():
    try: return int(open(counted).read() or 0)
    except FileNotFoundError: return 0
def wait_for(true):
    deadline = time.time() + 20
    while not true():
        if time.time() > deadline: raise SystemExit('the counter did not go on within 20 s')
        time.sleep(0.0002)
`;
