import { mkdirSync, watch as nodeWatch, writeFileSync } from 'node:fs';
import { watch } from 'chokidar';
import { state, until } from './state.mjs';

// Watches a tree as dev servers do: an own folder, one of a lower layer, and node's own recursive watch.
state(async () => {
  mkdirSync('src/deep', { recursive: true });
  writeFileSync('src/deep/old.ts', '');
  const seen = new Set();
  const watcher = watch(['src', '../../lower/watched-too'], { ignoreInitial: true });
  watcher.on('all', (event, path) => seen.add(`${event} ${path}`));
  await new Promise((ready) => watcher.once('ready', ready));
  const recursive = new Set();
  nodeWatch('src', { recursive: true }, (_, name) => recursive.add(name));
  writeFileSync('src/first.ts', '1');
  await until(() => seen.has('add src/first.ts'), 'chokidar works');
  return async () => {
    writeFileSync('src/deep/new.ts', '1');
    await until(() => seen.has('add src/deep/new.ts'), 'a new file');
    writeFileSync('src/deep/old.ts', 'changed');
    await until(() => seen.has('change src/deep/old.ts'), 'a changed file');
    writeFileSync('../../lower/watched-too/chokidar', '1');
    await until(() => seen.has('add ../../lower/watched-too/chokidar'), 'a file in a folder of a lower layer');
    await until(() => recursive.has('deep/new.ts'), "node's recursive watch");
  };
});
