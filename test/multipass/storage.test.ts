import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Storage } from '../../src/connection/multipass/storage.ts';

describe('what is kept between windows', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'teleport-env-storage-'));
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  it('the key is one that ssh takes, for our eyes only, and made once', () => {
    const storage = new Storage(join(dir, 'new'));
    const line = storage.publicKey();
    assert.equal(statSync(storage.keyFile).mode & 0o777, 0o600);
    // ssh-keygen derives the public half from the private one.
    const derived = execFileSync('ssh-keygen', ['-y', '-f', storage.keyFile]).toString().trim();
    assert.equal(derived, line);
    assert.equal(new Storage(join(dir, 'new')).publicKey(), line);
  });

  it('a damaged file is as good as none', () => {
    const storage = new Storage(dir);
    writeFileSync(join(dir, 'machines.json'), '{"launched": 3');
    assert.deepEqual(storage.read(), { launched: [], transports: {}, folders: {} });
    storage.change((kept) => ({ ...kept, launched: ['a'] }));
    assert.deepEqual(storage.read().launched, ['a']);
  });
});
