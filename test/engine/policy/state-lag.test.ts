import { historyEntries, LAGGING_ROWS, lagsStates } from "../../../src/engine/policy/state-lag";

test.each([
  ["cuda", "f32", LAGGING_ROWS, true],
  ["cuda", "f32", LAGGING_ROWS - 1, false], // too few sequences
  ["cuda", "bf16", 256, false], // rounded after each token
  ["cpu", "f32", 256, false],
] as const)("states on %s of %s for %d sequences lag: %s", (kind, stateDtype, maxNumSeqs, lags) => {
  expect(lagsStates(kind, stateDtype, maxNumSeqs)).toBe(lags);
});

test.each([
  [1, false, 0],
  [1, true, 8],
  [4, false, 8],
  [7, true, 14],
])("a history for rows of %d tokens, lagging %s, has %d entries", (rowTokens, lags, entries) => {
  expect(historyEntries(rowTokens, lags)).toBe(entries);
});
