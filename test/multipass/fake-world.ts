/** A launch's world with the fake multipass in it. What a machine holds is a folder. */
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { World } from '../../src/connection/multipass/launch.ts';
import type { Step } from '../../src/connection/multipass/launch-output.ts';
import type { Payload } from '../../src/connection/multipass/payload.ts';
import { multipassRunner, runProgram } from '../../src/connection/multipass/runner.ts';
import { Storage } from '../../src/connection/multipass/storage.ts';
import { type TarSource, tarOf } from '../../src/connection/multipass/workspace/tar.ts';

export interface Scenario {
  instances?: { [name: string]: { state: string; ipv4: string[]; polls?: number } };
  faults?: { [fault: string]: boolean | string };
  calls?: string[][];
  cloudInit?: string;
  again?: boolean;
  execs?: number;
}

export const OTHERS = {
  'my-own': { state: 'Running', ipv4: ['192.168.64.2'] },
  primary: { state: 'Stopped', ipv4: [] },
};

export class FakeWorld {
  readonly dir = mkdtempSync(join(tmpdir(), 'teleport-env-fake-'));
  readonly guest = join(this.dir, 'guest');
  readonly command = join(this.dir, 'multipass');
  readonly #file = join(this.dir, 'scenario.json');
  readonly steps: Step[] = [];
  readonly report = (step: Step) => void this.steps.push(step);
  readonly world: World;

  constructor(scenario: Scenario, more: Partial<World> = {}, platform: NodeJS.Platform = 'darwin') {
    this.change((_) => ({ calls: [], ...scenario, instances: { ...OTHERS, ...scenario.instances } }));
    this.inside('etc/teleport-env/machine', 'made for Teleport Env\n');
    this.inside('var/lib/cloud/instance/boot-finished', '');
    mkdirSync(join(this.guest, 'workspaces'));
    const { command } = this;
    // Its own environment, so that tests need not change theirs.
    const program = join(__dirname, 'fake-multipass.js');
    const env = `FAKE_MULTIPASS='${this.#file}' FAKE_GUEST='${this.guest}' HOME='${this.dir}'`;
    writeFileSync(
      command,
      `#!/bin/sh\nexec env ${env} PATH="${this.dir}:$PATH" '${process.execPath}' '${program}' "$@"\n`,
    );
    // Inside, who may do everything is asked for nothing.
    writeFileSync(join(this.dir, 'sudo'), '#!/bin/sh\nshift\nexec env "$@"\n');
    chmodSync(command, 0o755);
    chmodSync(join(this.dir, 'sudo'), 0o755);
    this.world = {
      runner: multipassRunner(command, platform),
      run: runProgram,
      storage: new Storage(join(this.dir, 'storage')),
      host: { platform, cpus: 8, memory: 16 * 2 ** 30, freeDisk: 100 * 2 ** 30 },
      settings: { name: 'teleport-env', image: '26.04', cpus: 4, memory: 4096, disk: 20 },
      payload: () => fakePayload(),
      ssh: join(this.dir, 'no-ssh'),
      pollMs: 5,
      ...more,
    };
  }

  get scenario(): Required<Pick<Scenario, 'instances' | 'calls'>> & Scenario {
    return JSON.parse(readFileSync(this.#file, 'utf8'));
  }

  change(how: (scenario: Scenario) => Scenario): void {
    let before: Scenario = {};
    try {
      before = this.scenario;
    } catch {}
    writeFileSync(this.#file, JSON.stringify(how(before)));
  }

  /** A file of the machine. */
  inside(path: string, text?: string): string {
    const file = join(this.guest, path);
    if (text !== undefined) {
      mkdirSync(join(file, '..'), { recursive: true });
      writeFileSync(file, text);
    }
    return readFileSync(file, 'utf8');
  }

  /** An ssh that leads in: its last word is a line for the far shell, as of a real one. @returns its path */
  ssh(): string {
    const path = join(this.dir, 'ssh');
    const places = ['/etc/', '/var/lib/', '/workspaces', '/usr/local/bin/teleport-env'];
    const mapped = places.map((place) => `-e 's#${place}#${this.guest}${place}#g'`).join(' ');
    writeFileSync(
      path,
      `#!/bin/sh
for line; do :; done
echo "$line" >>'${this.dir}/ssh-lines'
HOME='${this.dir}' PATH='${this.dir}':"$PATH" exec sh -c "$(printf '%s' "$line" | sed ${mapped})"
`,
    );
    chmodSync(path, 0o755);
    return path;
  }

  calls(verb: string): string[][] {
    return this.scenario.calls.filter((call) => call[0] === verb);
  }

  dispose(): void {
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** Provisions as the real script says it does. The path goes through the fake, which puts the machine's folder before it. */
const SCRIPT = `echo '@@ 1 2 Looking'
echo some words
echo '@@ 2 2 Installing the helper'
echo "1 0.2.0 abc" >"$HOME/guest/etc/teleport-env/provisioned"
`;

export function fakePayload(script = SCRIPT, version = '0.2.0'): Payload {
  return {
    provisioned: { provision: 1, version, payload: 'abc' },
    cloudInit: (key) => `#cloud-config\nssh_authorized_keys:\n  - ${key}\n`,
    stream: () => tarOf(files(script)),
  };
}

async function* files(script: string): AsyncGenerator<TarSource> {
  const dir = mkdtempSync(join(tmpdir(), 'teleport-env-payload-'));
  const file = join(dir, 'provision.sh');
  writeFileSync(file, script);
  yield { path: 'multipass/provision.sh', type: 'file', mode: 0o755, mtimeMs: 0, size: script.length, file };
  rmSync(dir, { recursive: true });
}
