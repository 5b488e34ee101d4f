// Mocha's usual output, and beside it one line of JSON per result as it comes: what is counted is what was seen, also
// when the process dies half-way. Mocha reads a reporter by path only as a plain module, hence no TypeScript.
const { appendFileSync } = require('node:fs');
const { Runner, reporters } = require('mocha');

const { EVENT_RUN_END, EVENT_TEST_FAIL, EVENT_TEST_PASS, EVENT_TEST_PENDING } = Runner.constants;

module.exports = class extends reporters.Spec {
  constructor(runner, options) {
    super(runner, options);
    const results = process.env.TELEPORT_ENV_TEST_RESULTS;
    const tell = (outcome, test, error) => {
      const result = { outcome, title: test?.titlePath().join(' › '), error: error && String(error.stack ?? error) };
      appendFileSync(results, `${JSON.stringify(result)}\n`);
    };
    runner.on(EVENT_TEST_PASS, (test) => tell('passed', test));
    runner.on(EVENT_TEST_FAIL, (test, error) => tell('failed', test, error));
    runner.on(EVENT_TEST_PENDING, (test) => tell('skipped', test));
    runner.on(EVENT_RUN_END, () => tell('end'));
  }
};
