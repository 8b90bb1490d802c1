import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Sequence } from "../../../src/engine/policy/sequence";
import { StepPlan, settles } from "../../../src/engine/policy/step-plan";
import { makeRequest, promptOf } from "../../helpers/engine-request";

const waiting = (length: number) => new Sequence(makeRequest({ prompt: promptOf(length) }), 0, 1000);

/** A sequence that has decoded `decoded` tokens, the first `settled` of which are in its state. */
function decoding(decoded: number, settled = 0): Sequence {
  const sequence = waiting(4);
  sequence.tokens.push(...new Array<number>(decoded + 1).fill(7));
  sequence.numComputed = 4 + decoded;
  sequence.numSettled = 4 + settled;
  return sequence;
}

describe("a prefill that reaches no multiple of the chunk", () => {
  const fits = (deterministic: boolean, length = 100) => {
    const plan = new StepPlan({ maxNumBatchedTokens: 10, chunkSize: 16, deterministic });
    return plan.fit(waiting(length));
  };

  test("takes what there is where no other advances", () => {
    expect(fits(false)).toBe(10);
  });

  test("waits in the deterministic mode, unless it ends", () => {
    expect([fits(true), fits(true, 9)]).toEqual([0, 9]);
  });

  test("waits for one that advances", () => {
    const plan = new StepPlan({ maxNumBatchedTokens: 40, chunkSize: 16 });
    plan.givePrefill(waiting(26), 26);
    expect(plan.fit(waiting(100))).toBe(0);
  });
});

describe("a state that lags", () => {
  /** What the row of a sequence settles, whose state lacks `held` tokens, in a step of a plan that lags or not. */
  function settled(held: number, { lags = true, drafts = [] as number[] } = {}): number {
    const speculative = { method: "suffix", numSpeculativeTokens: 3, suffixDecodingMaxSpecFactor: 1 } as const;
    const config = {
      maxNumBatchedTokens: 100,
      chunkSize: 8,
      ...(drafts.length > 0 ? { speculative } : { laggingRows: 1 }),
    };
    const plan = new StepPlan(config);
    plan.lags = lags;
    plan.giveDecode(decoding(held + 2, 2), drafts);
    const { replay } = plan.toBatch()!.rows[0]!;
    expect(replay).toMatchObject({ first: held + 2, held });
    return replay!.settles;
  }

  test("is written in every eighth step", () => {
    expect([0, 1, 5, 6, 7].map((held) => settled(held))).toEqual([0, 0, 0, 0, 2]);
  });

  test("is written at once in a step that does not lag", () => {
    expect([0, 3].map((held) => settled(held, { lags: false }))).toEqual([settles.all, settles.all]);
  });

  test("takes what it lacks, and not the row's guesses, where the history has no room for the next row", () => {
    // The history has room for eight tokens, of which four are the next row's.
    expect([0, 1, 4].map((held) => settled(held, { drafts: [1, 2, 3] }))).toEqual([0, 1, 1]);
    expect([1, 2].map((held) => settled(held, { drafts: [1, 2] }))).toEqual([0, 1]);
  });
});

test("what a row settles has the kernels' numbers", () => {
  const header = readFileSync(join(__dirname, "../../../native/ops/replay.h"), "utf8");
  const native = [...header.matchAll(/kSettles(\w+) = (\d)/g)].map(([, name, value]) => [
    name!.toLowerCase(),
    Number(value),
  ]);
  expect(Object.fromEntries(native)).toEqual(settles);
});

test("a decode that gives its row up gives back its tokens, and gets no other row in the step", () => {
  const plan = new StepPlan({ maxNumBatchedTokens: 8, chunkSize: 4 });
  const [first, second] = [decoding(1), decoding(2)];
  for (const sequence of [first, second]) plan.giveDecode(sequence, [5, 6]);
  expect(plan.spare).toBe(2);
  expect(plan.fit(waiting(5), first)).toBe(5);
  plan.rest(first);
  plan.giveDecode(first);
  expect([plan.spare, plan.toBatch()!.rows.map(({ sequence }) => sequence)]).toEqual([5, [second]]);
});
