/** PostgreSQL with a transaction open: shared memory, semaphores, sockets, several processes and a write-ahead log at once. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { needsMachine } from '../daemon/helper-process.ts';
import { Rig } from './rig.ts';

/** It refuses to run as root, and asks for its user's name. */
const NOBODY = 65534;
const PACKAGES = '/usr/lib/postgresql';

function findPrograms(): string | undefined {
  const versions = existsSync(PACKAGES) ? readdirSync(PACKAGES).sort((a, b) => Number(b) - Number(a)) : [];
  return versions.map((version) => `${PACKAGES}/${version}/bin`).find((bin) => existsSync(`${bin}/initdb`));
}

function install(): void {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  for (const words of [['update'], ['install', '-y', '--no-install-recommends', 'postgresql']])
    execFileSync('apt-get', ['-qq', ...words], { env, stdio: 'ignore' });
}

describe('postgres with a transaction open', function () {
  this.timeout(180_000);
  let rig: Rig;
  let checkpoint: string;
  /** What the open transaction's own connection answers. */
  const ask = (sql: string, branch?: string) =>
    rig.run(`echo ${JSON.stringify(`${sql}`)} >&7; read -t 10 answer <&8; echo "$answer"`, branch);
  const other = (sql: string, branch?: string) => rig.run(`psql -qAt -c ${JSON.stringify(sql)} 2>&1`, branch);

  before(async function () {
    needsMachine(this);
    if (!findPrograms()) {
      // Local runs leave the machine as it is.
      if (process.env.CI !== 'true') this.skip();
      install();
    }
    rig = await Rig.make(NOBODY);
    await rig.run(
      `PATH=${findPrograms()}:$PATH; export PGHOST=$PWD/data PGDATABASE=postgres PGUSER=me PGOPTIONS='-c lock_timeout=200'\n` +
        'initdb -D data -U me -A trust --no-sync >>log 2>&1 && pg_ctl -D data -w -l server.log -o "-k $PWD/data -c listen_addresses=\'\'" start >>log 2>&1',
    );
    assert.equal(await other('create table t (n int); insert into t values (1); select count(*) from t'), '1\n');
    await rig.run('mkfifo in out; psql -qAt <in >out 2>&1 & exec 7>in 8<out');
    assert.equal(await ask('begin; insert into t values (2); select count(*) from t;'), '2\n');
    checkpoint = await rig.checkpoint();
    await rig.verified(checkpoint);
  });
  after(() => rig?.end());

  async function holds(branch?: string): Promise<void> {
    assert.equal(await other('select count(*) from t', branch), '1\n', 'others do not see it');
    assert.match(
      await other('begin; lock table t in exclusive mode', branch),
      /lock timeout/,
      'its lock keeps others out',
    );
    assert.equal(await ask('insert into t values (3); commit; select count(*) from t;', branch), '3\n');
    assert.equal(await other('insert into t values (4); checkpoint; select sum(n) from t', branch), '10\n');
  }

  it('goes on after a checkpoint', () => holds());
  it('after a warm rollback', async () => {
    await rig.rollback(checkpoint, 'warm');
    await holds();
  });
  it('after a cold rollback, in the second generation', async () => {
    await rig.coldRollback(checkpoint);
    const second = await rig.checkpoint();
    await rig.verified(second);
    await rig.coldRollback(second, 'on demand');
    await holds();
  });
  it('in two forks side by side', async () => {
    const forks = [await rig.fork(checkpoint), await rig.fork(checkpoint)];
    await Promise.all(forks.map((branch) => holds(branch)));
    for (const branch of forks) await rig.connection.request('branch/discard', { sandbox: rig.sandbox, branch });
  });
  it('after the helper was killed', async () => {
    await rig.standsBy(checkpoint);
    await rig.restart();
    await rig.rollback(checkpoint, 'warm');
    await holds();
  });
  it('recovers from its log alone: a checkpoint of files only in the middle', async () => {
    const { sandbox } = rig;
    await rig.rollback(checkpoint);
    const taken = await rig.connection.request('checkpoint/create', { sandbox, filesOnly: true });
    await rig.rollback(taken.checkpoint.id);
    await rig.run(
      `PATH=${findPrograms()}:$PATH; export PGHOST=$PWD/data PGDATABASE=postgres PGUSER=me\n` +
        'rm -f data/postmaster.pid; pg_ctl -D data -w -l server.log -o "-k $PWD/data -c listen_addresses=\'\'" start >>log 2>&1',
    );
    assert.equal(await other('select count(*) from t'), '1\n', 'as after a crash: what was committed');
  });
});
