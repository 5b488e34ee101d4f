import assert from 'node:assert/strict';
import { classify, type Ended } from '../../src/connection/multipass/errors.ts';

const ended = (exitCode: number | undefined, stderr = '', more: Partial<Ended> = {}): Ended => ({
  exitCode,
  stdout: '',
  stderr,
  ...more,
});

describe('multipass errors', () => {
  const cases: [string, Ended, string][] = [
    ['no such program', ended(undefined, '', { errno: 'ENOENT' }), 'notInstalled'],
    ['the daemon is down', ended(2, 'list failed: cannot connect to the multipass socket'), 'daemonDown'],
    ['the daemon fails', ended(3, 'unexpected'), 'daemonDown'],
    ['--timeout', ended(5, 'Timed out waiting for instance launch.'), 'launchTimeout'],
    ['exit 5 without words', ended(5), 'launchTimeout'],
    [
      'cloud-init is slow',
      ended(2, 'launch failed: The following errors occurred:\ntimed out waiting for initialization to complete'),
      'initTimeout',
    ],
    ['it is gone', ended(2, 'info failed: instance "x" does not exist'), 'noInstance'],
    ['it is in the trash', ended(2, 'exec failed: instance "x" is deleted'), 'instanceDeleted'],
    ['it is there', ended(2, 'launch failed: instance "x" already exists'), 'instanceExists'],
    [
      'no disk',
      ended(2, 'launch failed: Available disk (1000000000 bytes) below minimum for this image (3758096384 bytes)'),
      'noDisk',
    ],
    ['no such image', ended(2, 'launch failed: Unable to find an image matching "27.10" in remote ""'), 'unknownImage'],
    ['no hypervisor', ended(2, 'launch failed: KVM support is not enabled on this machine.'), 'noHypervisor'],
    ['an option it does not know', ended(1, "Unknown option 'format'."), 'tooOld'],
    ['it hangs', ended(undefined, '', { timedOut: true }), 'hanging'],
    ['somebody cancelled', ended(undefined, '', { cancelled: true }), 'cancelled'],
    ['something else', ended(2, 'start failed: it is Tuesday'), 'failed'],
  ];
  for (const [what, how, code] of cases)
    it(`${what}: ${code}`, () => assert.equal(classify('launch', 'x', how, 'linux').code, code));

  it('say what to do in the words of the system', () => {
    const hint = (platform: NodeJS.Platform) =>
      classify('version', '', ended(undefined, '', { errno: 'ENOENT' }), platform).hint ?? '';
    assert.match(hint('win32'), /winget install Canonical\.Multipass/);
    assert.match(hint('darwin'), /brew install --cask multipass/);
    assert.match(hint('linux'), /snap install multipass/);
  });

  it('tell the numbers of a full disk', () => {
    const text = 'Available disk (1000000000 bytes) below minimum for this image (3758096384 bytes)';
    assert.match(classify('launch', 'x', ended(2, text), 'linux').message, /1\.0 GB left.*3\.8 GB/);
  });

  it('quote the last line of what is not known', () => {
    assert.match(
      classify('start', 'x', ended(2, 'first\nstart failed: it is Tuesday\n'), 'linux').message,
      /it is Tuesday$/,
    );
  });
});
