import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** The count lives in memory alone: it is written out, never read in. */
const COUNTER_PY = `import time

count = 0
while True:
    count += 1
    with open("counter.log", "a") as log:
        log.write(f"{count}\\n")
    time.sleep(0.02)
`;
/** The same for a machine without Python. */
const COUNTER_SH = `count=0
while :; do
  count=$((count + 1))
  echo $count >> counter.log
  sleep 0.02
done
`;
const CONFIG = `{\n  "api_version": "v1"\n}\n`;

const FILES: Record<string, Record<string, string>> = {
  'demo-counter': { 'counter.py': COUNTER_PY, 'counter.sh': COUNTER_SH },
  'demo-sed': { 'config1.json': CONFIG, 'config2.json': CONFIG, 'ignore_me.txt': `"api_version": "v1"\n` },
};

/** Fills the workspace of a story. */
export async function writeFiles(folder: string, story: string): Promise<void> {
  for (const [name, content] of Object.entries(FILES[story] ?? {})) await writeFile(join(folder, name), content);
}
