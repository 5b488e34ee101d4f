#!/usr/bin/env node
/*
 * A multipass that misbehaves as the real one does. The file named by FAKE_MULTIPASS holds the scenario and the state:
 *
 *   instances   { NAME: { state, ipv4, polls?: how many more `info` it stays in `Starting` } }
 *   faults      what goes wrong (see below)
 *   calls       every command line, in order, for the test to look at
 *
 * `exec` runs the words after -- on this very machine, with FAKE_GUEST in front of /etc, /var/lib, /workspaces and the
 * helper's path. A client process and a shell have its streams, for as long as they like.
 */
const { spawn, spawnSync } = require('node:child_process');
const fs = require('node:fs');

const file = process.env.FAKE_MULTIPASS;
const scenario = JSON.parse(fs.readFileSync(file, 'utf8'));
const faults = scenario.faults ?? {};
const args = process.argv.slice(2);
const [verb] = args;
scenario.calls.push(args);
save();

function save() {
  fs.writeFileSync(`${file}.new`, JSON.stringify(scenario));
  fs.renameSync(`${file}.new`, file);
}
function fail(code, text) {
  process.stderr.write(`${text}\n`);
  process.exit(code);
}
function say(value) {
  const extra = faults.unknownKeys ? { added_in_1_99: { nested: [1] } } : {};
  fs.writeSync(1, `${JSON.stringify({ ...extra, ...value }, null, 4)}\n`);
}
/** Windows: four kilobytes come, then nothing any more, and no end. */
function hang(text = '') {
  if (text) fs.writeSync(1, text.slice(0, 4096));
  setInterval(() => {}, 1000);
}
function described(name, instance) {
  const extra = faults.unknownKeys ? { tpm: true, zone: { name: 'zone1', available: true } } : {};
  return {
    name,
    ipv4: instance.state === 'Running' ? instance.ipv4 : [],
    release: 'Ubuntu 26.04 LTS',
    state: instance.state,
    ...extra,
  };
}
const nameIn = (words) =>
  words.find((word, i) => !word.startsWith('-') && !['--format', '--timeout'].includes(words[i - 1]));

function found(name) {
  const instance = scenario.instances[name];
  if (!instance) fail(2, `${verb} failed: instance "${name}" does not exist`);
  return instance;
}

const verbs = {
  version() {
    const version = faults.version ?? '1.16.3';
    say(faults.daemonDown ? { multipass: version } : { multipass: version, multipassd: version });
  },
  list() {
    const list = Object.entries(scenario.instances).map(([name, instance]) => described(name, instance));
    if (faults.hangingOutput) return hang(JSON.stringify({ list, filler: 'x'.repeat(8192) }));
    say({ list });
  },
  info() {
    const name = nameIn(args.slice(1));
    const instance = found(name);
    if (instance.polls > 0) {
      instance.polls--;
      if (instance.polls === 0) instance.state = 'Running';
      save();
    }
    const { name: _, ...rest } = described(name, instance);
    const details = {
      cpu_count: '2',
      disks: { sda1: { total: '20812251136', used: '2147483648' } },
      memory: { total: 4109402112, used: 250000000 },
      mounts: {},
    };
    if (faults.hangingInfo) return hang(`{"info": "${'x'.repeat(8192)}`);
    say({ errors: [], info: { [name]: { ...details, ...rest } } });
  },
  launch() {
    const name = args[args.indexOf('--name') + 1];
    if (scenario.instances[name]) fail(2, `launch failed: instance "${name}" already exists`);
    scenario.cloudInit = fs.readFileSync(0, 'utf8');
    save();
    if (faults.noDisk)
      fail(2, 'launch failed: Available disk (1073741824 bytes) below minimum for this image (3758096384 bytes)');
    if (faults.unknownImage === args[1] || faults.unknownImage === true)
      fail(2, `launch failed: Unable to find an image matching "${args[1]}" in remote "".`);
    for (const percent of [0, 12, 55, 100]) {
      fs.writeSync(1, `\rRetrieving image: ${percent}%`);
      if (faults.slowImage) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1500);
    }
    fs.writeSync(1, `\nPreparing image for ${name}\rCreating ${name}\rConfiguring ${name}\rStarting ${name}\r`);
    scenario.instances[name] = { state: 'Running', ipv4: ['192.168.64.7'] };
    if (faults.slowLaunch) {
      save();
      return hang();
    }
    if (faults.exit5) {
      scenario.instances[name] = { ...scenario.instances[name], state: 'Starting', polls: 3 };
      save();
      fail(5, 'Timed out waiting for instance launch.');
    }
    fs.writeSync(1, 'Waiting for initialization to complete\r');
    if (faults.initTimeout) {
      scenario.instances[name] = { ...scenario.instances[name], state: 'Starting', polls: 3 };
      scenario.boots = 2;
      save();
      fail(2, 'launch failed: The following errors occurred:\ntimed out waiting for initialization to complete');
    }
    save();
    fs.writeSync(1, `Launched: ${name}\n`);
  },
  start() {
    found(nameIn(args.slice(1))).state = 'Running';
    save();
  },
  recover() {
    found(nameIn(args.slice(1))).state = 'Stopped';
    save();
  },
  stop() {
    found(nameIn(args.slice(1))).state = 'Stopped';
    save();
  },
  suspend() {
    found(nameIn(args.slice(1))).state = 'Suspended';
    save();
  },
  delete() {
    const name = nameIn(args.slice(1));
    found(name);
    delete scenario.instances[name];
    save();
  },
  exec() {
    const dashes = args.indexOf('--');
    const name = nameIn(args.slice(1, dashes));
    const instance = found(name);
    if (instance.state === 'Deleted') fail(2, `exec failed: instance "${name}" is deleted`);
    if (faults.deletedUnderUs) {
      delete scenario.instances[name];
      save();
      fail(2, `exec failed: instance "${name}" does not exist`);
    }
    const words = args
      .slice(dashes + 1)
      .map((word) =>
        word.replace(
          /\/etc\/|\/var\/lib\/|\/workspaces(?=\/|$)|\/usr\/local\/bin\/teleport-env/g,
          (at) => `${process.env.FAKE_GUEST}${at}`,
        ),
      );
    if (!faults.hangingOutput && (words.at(-1) === 'connect' || words.at(-1) === '-l')) {
      const child = spawn(words[0], words.slice(1), { stdio: 'inherit' });
      for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) process.on(signal, () => child.kill(signal));
      child.on('exit', (code) => process.exit(code ?? 1));
      return;
    }
    const run = () =>
      spawnSync(words[0], words.slice(1), { input: faults.stdinDropped ? '' : fs.readFileSync(0), maxBuffer: 1e9 });
    if (faults.hangingOutput) return hang('x'.repeat(8192));
    let ended = run();
    scenario.execs = (scenario.execs ?? 0) + 1;
    // 1.16.3 takes a guest's 4 for its own, and does it again.
    if (ended.status === 4) {
      scenario.again = true;
      ended = run();
    }
    save();
    for (let at = 0; at < ended.stdout.length; ) at += fs.writeSync(1, ended.stdout, at);
    fs.writeSync(2, ended.stderr);
    process.exitCode = ended.status ?? 1;
  },
};

// On Windows, where output that isn't a console's hangs; elsewhere at once.
if (faults.daemonDown && verb !== 'version') fail(2, `${verb} failed: cannot connect to the multipass socket`);
if (faults.daemonFails && verb !== 'version') fail(3, 'daemon: unexpected error');
if (!verbs[verb]) fail(1, `Unknown command or alias '${verb}'.`);
verbs[verb]();
