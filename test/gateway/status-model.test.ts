import assert from 'node:assert/strict';
import { settingsOf } from '../../src/gateway/settings-model.ts';
import { gatewayStatus } from '../../src/gateway/status-model.ts';
import { hover } from '../../src/views/timeline-model.ts';
import { aCheckpoint } from '../client/models.ts';

const USAGE = { requests: 2, inputTokens: 12_400, cachedTokens: 8000, outputTokens: 950, cost: 0.04117, unpriced: 0 };

describe('the model gateway in words', () => {
  it('says how much, and says a cost only where every request has a price', () => {
    const status = gatewayStatus({ name: 'api', gateway: { variables: [] }, usage: USAGE });
    assert.equal(status?.text, '$(sparkle) 13.4k tokens');
    assert.match(
      status?.tooltip ?? '',
      /2 model requests · 12,400 tokens in \(8,000 cached\) · 950 out · cost 0\.0412/,
    );
    assert.equal(gatewayStatus({ name: 'api', gateway: { variables: [] } })?.text, '$(sparkle) models');
    assert.equal(gatewayStatus({ name: 'api', usage: USAGE }), null);
    const at = hover({ ...aCheckpoint('k1'), usage: { ...USAGE, unpriced: 1 } }, 'now');
    assert.match(at, /2 model requests · 12,400 tokens in/);
    assert.doesNotMatch(at, /cost/);
    assert.doesNotMatch(hover(aCheckpoint('k1'), 'now'), /model request/);
  });

  it('starts with what there is a key or an endpoint of one’s own for', () => {
    const configured = { baseUrls: {}, prices: {}, budgetTokens: 0, budgetRequests: 0, transcripts: true };
    assert.equal(settingsOf({}, configured), null);
    assert.deepEqual(settingsOf({ anthropic: 'k' }, { ...configured, budgetTokens: 5 })?.providers, [
      { name: 'anthropic', key: 'k' },
    ]);
    const own = settingsOf({}, { ...configured, baseUrls: { openai: ' http://127.0.0.1:1/v1 ', other: 3 } });
    assert.deepEqual(own?.providers, [{ name: 'openai', key: null, baseUrl: 'http://127.0.0.1:1/v1' }]);
    assert.deepEqual(settingsOf({ openai: 'k' }, { ...configured, budgetRequests: 7 })?.budget, { requests: 7 });
  });
});
