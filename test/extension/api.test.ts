/** What other extensions ask for becomes a request to the helper. In the editor it is tested by `api-in-host.ts`. */
import assert from 'node:assert/strict';
import { apiOf } from '../../src/api.ts';
import type { App } from '../../src/app.ts';

describe('the API for other extensions', () => {
  it('tells the helper where the caller will probably go next', async () => {
    const asked: unknown[] = [];
    const answer = { branch: 'b2', exitCode: 0, output: '', checkpoint: null };
    const ask = async (method: string, params: { expect?: string[] }): Promise<typeof answer> => {
      asked.push([method, params.expect]);
      return answer;
    };
    const api = apiOf(
      async () => ({ helper: { ask } }) as unknown as App,
      () => undefined,
      () => ({ dispose() {} }),
    );
    await api.checkpoint('s1', undefined, { expect: ['k1'] });
    await api.rollback('s1', 'k3', { expect: ['k2'] });
    await api.fork('s1', 'k3', { expect: [] });
    await api.run('s1', 'true', { expect: ['k4', 'k5'] });
    await api.run('s1', 'true');
    assert.deepEqual(asked, [
      ['checkpoint/create', ['k1']],
      ['checkpoint/rollback', ['k2']],
      ['branch/fork', []],
      ['run', ['k4', 'k5']],
      ['run', undefined],
    ]);
  });
});
