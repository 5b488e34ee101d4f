/** What the workloads run, as files of their workspace. */
export const COUNTER_PY = `import sys, time
n = 0
while True:
    n += 1
    with open(sys.argv[1] if len(sys.argv) > 1 else 'count.txt', 'w') as f:
        f.write(str(n))
    time.sleep(0.05)
`;

export const SQLITE_PY = `import sqlite3, time
db = sqlite3.connect('data.db')
db.execute('pragma journal_mode=wal')
db.execute('create table if not exists t (n integer)')
while True:
    with db:
        db.execute('insert into t values (1)')
    time.sleep(0.2)
`;

/** argv: megabytes. Touches 1 % of its pages each time the file \`touch\` is there. */
export const MEMORY_PY = `import os, sys, time
size = int(sys.argv[1]) << 20
block = bytearray(os.urandom(1 << 20)) * (size >> 20)
open('ready', 'w').close()
n = 0
while True:
    if os.path.exists('touch'):
        os.unlink('touch')
        n += 1
        for i in range(0, size, 4096 * 100):
            block[i] = n & 255
    time.sleep(0.02)
`;
