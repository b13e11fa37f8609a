// Jest's reporter for Mizzen: one line per file, failures in full; the counts go to run-tests.mjs, which adds the runs up.
// A test that needs something of the machine says so in a title: "needs mariadbd". MIZZEN_REQUIRE=mariadbd,envoy (or `all`) turns
// such a skip into a failure.
'use strict';
const fs = require('node:fs');
const path = require('node:path');

const required = new Set((process.env.MIZZEN_REQUIRE || '').split(',').filter(Boolean));

module.exports = class Reporter {
  #root;
  #skips = new Map();
  #counts = { passed: 0, failed: 0, skipped: 0 };
  #missing = [];

  constructor(config) {
    this.#root = config.rootDir;
  }

  onTestResult(_test, result) {
    const file = path.relative(this.#root, result.testFilePath);
    const seconds = ((result.perfStats.end - result.perfStats.start) / 1000).toFixed(1);
    const failed = result.numFailingTests + (result.testExecError ? 1 : 0);
    this.#counts.passed += result.numPassingTests;
    this.#counts.failed += failed;
    const skipped = result.testResults.filter((test) => test.status === 'pending' || test.status === 'todo' || test.status === 'disabled');
    this.#counts.skipped += skipped.length;
    for (const test of skipped) this.#countSkip(test.fullName, file);
    process.stdout.write(
      `${failed > 0 ? 'FAIL' : 'ok  '} ${file} (${result.numPassingTests} passed${skipped.length ? `, ${skipped.length} skipped` : ''}, ${seconds} s)\n`,
    );
    if (failed > 0 && result.failureMessage) process.stdout.write(`${result.failureMessage}\n`);
  }

  #countSkip(title, file) {
    const need = /\bneeds ([\w .'/-]+?)(?=$|[,:;()]| to | and | > )/.exec(title)?.[1]?.trim() ?? `no reason given: ${file}`;
    this.#skips.set(need, (this.#skips.get(need) ?? 0) + 1);
    if (required.has('all') || [...required].some((name) => need.includes(name))) this.#missing.push(`${title} (${file})`);
  }

  onRunComplete() {
    const folder = process.env.MIZZEN_TEST_RESULTS;
    if (!folder) return;
    const report = { ...this.#counts, skips: [...this.#skips], missing: this.#missing };
    fs.writeFileSync(path.join(folder, `${process.pid}.json`), JSON.stringify(report));
  }
};
