/** What the workloads run, and what a moment of it is known by. */

/** A payload: programs of a folder that count in memory and write how far they are to `count.txt`. */
export interface Payload {
  /** Of its folder. */
  files: Record<string, string>;
  /** A line of bash that starts all of it and comes back when it is ready. */
  start: string;
  /** The same as one program that stays, for peers that dump a tree of processes. */
  argv: string[];
  /** Files that change all the time: not compared. */
  moving: string[];
  /** A line of bash whose answer is the same at one moment however often that is gone back to: of memory, of connections. */
  more?: string;
}

/** No payload counts faster. */
export const PERIOD_MS = 50;

export const COUNTER_PY = `import sys, time
n = 0
while True:
    n += 1
    with open(sys.argv[1] if len(sys.argv) > 1 else 'count.txt', 'w') as f:
        f.write(str(n))
    time.sleep(0.05)
`;

export const COUNTER: Payload = {
  files: { 'counter.py': COUNTER_PY },
  start: 'python3 counter.py & sleep 0.3',
  argv: ['python3', 'counter.py'],
  moving: ['count.txt'],
};

const SQLITE_PY = `import sqlite3, time
db = sqlite3.connect('data.db')
db.execute('pragma journal_mode=wal')
db.execute('create table if not exists t (n integer)')
n = 0
while True:
    n += 1
    with db:
        db.execute('insert into t values (?)', (n,))
    with open('count.txt', 'w') as f:
        f.write(str(n))
    time.sleep(0.2)
`;

/** The database has each row that its program counted, and perhaps the next; the server answers. */
const AGENT_ASKED = `import sqlite3, urllib.request
n = 0
while not n: n = int(open('count.txt').read() or 0)
rows = [n for n, in sqlite3.connect('data.db').execute('select n from t order by n')]
assert rows == list(range(1, len(rows) + 1)) and 0 <= len(rows) - n <= 2, (n, rows[-1])
print(urllib.request.urlopen('http://127.0.0.1:8123/sqlite.py').read() == open('sqlite.py', 'rb').read())
`;
const AGENT_JOBS = `python3 -m http.server 8123 --bind 127.0.0.1 >/dev/null 2>&1 & python3 sqlite.py & node -e 'setInterval(() => {}, 20)' &`;

export const AGENT: Payload = {
  files: { 'sqlite.py': SQLITE_PY, 'asked.py': AGENT_ASKED },
  start: `${AGENT_JOBS} until python3 asked.py 2>/dev/null; do sleep 0.1; done`,
  argv: ['bash', '-c', `sleep 1000 & sleep 1001 & ${AGENT_JOBS} wait`],
  moving: ['count.txt', 'data.db', 'data.db-wal', 'data.db-shm'],
  more: 'python3 asked.py',
};

/** argv: megabytes. Writes to one page in so many as the file \`touch\` says when that is there, sums all of them up for the file \`sum\`. */
const MEMORY_PY = `import os, sys, time, zlib
size = int(sys.argv[1]) << 20
block = bytearray(os.urandom(1 << 20)) * (size >> 20)
n = touched = 0
while True:
    if os.path.exists('touch'):
        with open('touch') as f:
            apart = int(f.read())
        os.unlink('touch')
        touched += 1
        for i in range(0, size, 4096 * apart):
            block[i] = touched & 255
    if os.path.exists('sum'):
        with open('sum.txt', 'w') as f:
            f.write('%d %d' % (touched, zlib.crc32(block)))
        os.unlink('sum')
    n += 1
    with open('count.txt', 'w') as f:
        f.write(str(n))
    time.sleep(0.05)
`;

/** A line of bash that comes back when so much of the memory is written to, in pages that lie evenly apart. */
export function touch(percent: number): string {
  return `echo ${Math.round(100 / percent)} > apart; mv apart touch; while [ -e touch ]; do sleep 0.01; done`;
}

export function holding(mb: number): Payload {
  return {
    files: { 'memory.py': MEMORY_PY },
    start: `python3 memory.py ${mb} & while [ ! -e count.txt ]; do sleep 0.05; done`,
    argv: ['python3', 'memory.py', String(mb)],
    moving: ['count.txt', 'sum.txt'],
    more: 'touch sum; while [ -e sum ]; do sleep 0.01; done; cat sum.txt',
  };
}

/** What all files but those that move hold, as a sum; of empty ones their names. */
export function filesSum(moving: string[]): string {
  const others = moving.map((name) => `! -name ${name}`).join(' ');
  const found = `find . -type f ${others}`;
  return `{ ${found} -printf '%p %m %s\\n'; ${found} -size +0 -exec sha256sum {} +; } | LC_ALL=C sort | sha256sum`;
}

/** argv: a file. Counts in memory as fast as it can, and writes there every 50 ms how far it is. */
export const BUSY_PY = `import sys, time
n = 0
told = time.monotonic()
while True:
    for _ in range(2000):
        n += 1
    if time.monotonic() - told > 0.05:
        told = time.monotonic()
        with open(sys.argv[1], 'r+') as f:
            f.write('%016d\\n' % n)
`;
