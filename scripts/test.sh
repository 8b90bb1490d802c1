#!/usr/bin/env bash
# The whole suite: set-up, format, lint, types, generated files, then every jest test. The last line is "N passed, N failed"; each
# check that fails counts as one failure.
set -uo pipefail
case ${1:-} in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" && exit ;; esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."
report=build/test-report.json

if ! scripts/setup.sh; then
  echo "0 passed, 1 failed"
  exit 1
fi
scripts/check.sh format-native biome types abi api
failed_checks=$?

rm -f "$report"
node_modules/.bin/jest --json --outputFile="$report" >/dev/null

node - "$report" "$failed_checks" <<'JS'
const { existsSync, readFileSync } = require("node:fs");
const [report, failedChecks] = process.argv.slice(2);
const none = { numPassedTests: 0, numFailedTests: 0, numRuntimeErrorTestSuites: 1 };
const result = existsSync(report) ? JSON.parse(readFileSync(report, "utf8")) : none;
const failed = result.numFailedTests + result.numRuntimeErrorTestSuites + Number(failedChecks);
console.log(`${result.numPassedTests} passed, ${failed} failed`);
process.exit(failed === 0 && result.numPassedTests > 0 ? 0 : 1);
JS
