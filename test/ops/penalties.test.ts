import { applyPenalties, countTokens } from "../../src/ops/penalties";
import { sample } from "../../src/ops/sampling";
import { describeEachBackend } from "../helpers/backends";
import { bitsOfFloat } from "../helpers/bits";
import { assertClose, assertSameBits } from "../helpers/close";
import * as reference from "../helpers/reference";
import { Rng } from "../helpers/rng";
import { cases } from "../helpers/table";

const inPrompt = -(2 ** 31);
const off: reference.PenaltyStrengths = { repetition: 1, presence: 0, frequency: 0 };

/** What a row adds to a slot; -1 = none. */
interface Part {
  readonly slot: number;
  readonly prompt: readonly number[];
  readonly output: readonly number[];
  readonly fresh: boolean;
}

/** Token ids, and a CountedRow of native/ops/penalties.h for each part, the parts one after the other. */
function pack(parts: readonly Part[]): { ids: number[]; rows: number[] } {
  const ids: number[] = [];
  const rows = parts.flatMap(({ slot, prompt, output, fresh }) => {
    const first = ids.length;
    ids.push(...prompt, ...output);
    return [slot, first, prompt.length + output.length, prompt.length, fresh ? 1 : 0];
  });
  return { ids, rows };
}

/** The same by hand: one count after another. */
function addTo(table: Int32Array, vocab: number, parts: readonly Part[]): void {
  for (const { slot, prompt, output, fresh } of parts) {
    if (slot < 0) continue;
    const own = table.subarray(slot * vocab, (slot + 1) * vocab);
    if (fresh) own.fill(0);
    for (const id of prompt) own[id]! |= inPrompt;
    for (const id of output) own[id]! += 1;
  }
}

const tableOf = (parts: readonly Part[], slots: number, vocab: number): Int32Array => {
  const table = new Int32Array(slots * vocab);
  addTo(table, vocab, parts);
  return table;
};

/** A PenaltyRow: four 32-bit words. */
const penaltyWords = (slot: number, p: reference.PenaltyStrengths): number[] => [
  slot,
  ...[p.repetition, p.presence, p.frequency].map((value) => bitsOfFloat(value) | 0),
];

const tokensOf = (rng: Rng, length: number, vocab: number) => Array.from({ length }, () => rng.integer(0, vocab - 1));

interface CountRow {
  readonly vocab: number;
  readonly slots: number;
  readonly prompts: readonly number[]; // tokens of each row
  readonly outputs: readonly number[];
  readonly without: readonly number[]; // rows without a slot
  readonly fresh: boolean;
  readonly rowPad: number;
}

const countBase = { vocab: 100, slots: 4, prompts: [5], outputs: [3], without: [], fresh: true, rowPad: 0 };
const countTable = cases<CountRow>(countBase, [
  {},
  { prompts: [], outputs: [] }, // no rows
  { prompts: [1], outputs: [0] }, // a prompt of one token
  { prompts: [0], outputs: [1], fresh: false }, // a decode
  { prompts: [0, 0, 0, 0], outputs: [1, 1, 1, 1], fresh: false }, // decodes
  { prompts: [0, 0, 0, 0], outputs: [1, 1, 1, 1], without: [0, 2], fresh: false }, // some without penalties
  { prompts: [3, 9], outputs: [1, 2], without: [0, 1] }, // all without
  { prompts: [7, 0, 30], outputs: [0, 1, 12] }, // a chunk, a decode and a preempted sequence
  { prompts: [0], outputs: [0] }, // an empty row clears its slot
  { prompts: [1000], outputs: [3000], vocab: 3 }, // each token many times
  { prompts: [20_000], outputs: [50_000], vocab: 1 }, // more often than 16 bits say
  { prompts: [8192], outputs: [5], vocab: 50257 }, // GPT-NeoX's vocabulary
  { prompts: [40, 50], outputs: [30, 20], vocab: 513, rowPad: 7 }, // rows that start anywhere
]);

interface PenaltyCase extends reference.PenaltyStrengths {
  readonly rows: number;
  readonly vocab: number;
  readonly tokens: number; // of the prompt, and of the output
  readonly masked: boolean; // some logits are -inf
  readonly logitsPad: number;
  readonly countsPad: number;
}

const penaltyBase = { rows: 3, vocab: 100, tokens: 40, masked: false, logitsPad: 0, countsPad: 0 };
const penaltyTable = cases<PenaltyCase>({ ...penaltyBase, repetition: 1.3, presence: 0.7, frequency: 0.25 }, [
  {},
  { ...off, repetition: 1.5 },
  { ...off, repetition: 0.5 }, // repetition is encouraged
  { ...off, presence: 1.5 },
  { ...off, presence: -2 },
  { ...off, frequency: 0.5 },
  { ...off, frequency: -0.5 },
  { ...off }, // nothing changes
  { repetition: 1e-6 },
  { repetition: 100, presence: 100, frequency: 100 },
  { rows: 0 },
  { rows: 200 },
  { vocab: 1 },
  { vocab: 17 },
  { vocab: 4096 }, // a piece of a row
  { vocab: 4097 },
  { vocab: 8193 },
  { vocab: 50257, tokens: 3000 },
  { tokens: 0 }, // nothing is counted
  { tokens: 5000, vocab: 16 }, // every token many times
  { masked: true }, // impossible tokens stay so
  { logitsPad: 3, countsPad: 28 },
  { countsPad: 1, vocab: 4097 }, // rows of counts on no boundary
]);

describeEachBackend((backend) => {
  describe("count_tokens", () => {
    async function count(parts: readonly Part[], { vocab, slots, rowPad }: CountRow, before: Int32Array) {
      const { ids, rows } = pack(parts);
      const counts = backend.place("i32", [slots, vocab], { values: before, rowPad });
      countTokens(backend.stream, {
        counts: counts.tensor,
        tokens: backend.integers(ids),
        rows: backend.place("i32", [parts.length, 5], { values: rows }).tensor,
      });
      return counts.values();
    }

    test.each(countTable)("$name", async ({ row }) => {
      const { vocab, slots, prompts, outputs, without, fresh } = row;
      const rng = new Rng(vocab);
      const parts = prompts.map((length, i) => ({
        slot: without.includes(i) ? -1 : slots - 1 - i,
        prompt: tokensOf(rng, length, vocab),
        output: tokensOf(rng, outputs[i]!, vocab),
        fresh,
      }));
      const before = Int32Array.from(
        { length: slots * vocab },
        () => rng.integer(0, 5) | (rng.integer(0, 1) && inPrompt),
      );
      const want = before.slice();
      addTo(want, vocab, parts);
      expect(Array.from(await count(parts, row, before))).toEqual(Array.from(want));
    });

    test("what is out of range is left out: slots, ids and tokens", async () => {
      const counts = backend.place("i32", [2, 4], { values: new Int32Array(8) });
      countTokens(backend.stream, {
        counts: counts.tensor,
        tokens: backend.integers([-1, 4, 2, 2]),
        rows: backend.place("i32", [3, 5], { values: [1, 0, 9, 0, 0, 2, 0, 4, 0, 1, -7, 0, 4, 0, 1] }).tensor,
      });
      expect(Array.from(await counts.values())).toEqual([0, 0, 0, 0, 0, 0, 2, 0]);
    });
  });

  describe("apply_penalties", () => {
    async function apply(
      logits: ArrayLike<number>,
      counts: Int32Array,
      rows: readonly number[],
      { vocab, logitsPad, countsPad }: Pick<PenaltyCase, "vocab" | "logitsPad" | "countsPad">,
    ) {
      const x = backend.place("f32", [rows.length / 4, vocab], { values: logits, rowPad: logitsPad });
      const table = backend.place("i32", [counts.length / vocab, vocab], { values: counts, rowPad: countsPad });
      applyPenalties(backend.stream, {
        logits: x.tensor,
        counts: table.tensor,
        rows: backend.place("i32", [rows.length / 4, 4], { values: rows }).tensor,
      });
      const out = await x.values();
      await table.assertUnchanged("counts");
      return out;
    }

    test.each(penaltyTable)("$name", async ({ row }) => {
      const { rows, vocab, tokens, masked } = row;
      const rng = new Rng(rows + vocab);
      const parts = Array.from({ length: rows }, (_, i) => ({
        slot: rows - i, // another one for each row, and slot 0 is nobody's
        prompt: tokensOf(rng, tokens, vocab),
        output: tokensOf(rng, tokens, vocab),
        fresh: true,
      }));
      const logits = rng.normal(rows * vocab, 0, 5);
      if (masked) for (let i = 0; i < logits.length; i += 3) logits[i] = Number.NEGATIVE_INFINITY;
      const words = parts.flatMap(({ slot }) => penaltyWords(slot, row));
      const got = await apply(logits, tableOf(parts, rows + 1, vocab), words, row);
      const want = parts.flatMap((part, r) => [
        ...reference.penalise(logits.subarray(r * vocab, (r + 1) * vocab), part, row),
      ]);
      assertClose("logits", [rows, vocab], got, want, { rtol: 1e-5, atol: 1e-5 });
    });

    test("repetition divides what is above zero and multiplies the rest; the others come after it", async () => {
      const part = { slot: 0, prompt: [0, 1, 4], output: [1, 2, 2, 3], fresh: true };
      const words = penaltyWords(0, { repetition: 2, presence: 0.5, frequency: 0.25 });
      const got = await apply([4, 4, -4, 0, -1, 7], tableOf([part], 1, 6), words, { ...penaltyBase, vocab: 6 });
      expect(Array.from(got)).toEqual([2, 2 - 0.75, -8 - 1, -0.75, -2, 7]);
    });

    test("rows without penalties or without a slot keep their bits, NaN too; their neighbours change", async () => {
      const vocab = 70;
      const logits = new Rng(1).normal(5 * vocab);
      logits.fill(Number.NaN, vocab, vocab + 9);
      const part = { slot: 0, prompt: [], output: Array.from({ length: vocab }, (_, i) => i), fresh: true };
      const strong = { repetition: 1, presence: 4, frequency: 0 };
      const rows = [
        ...[penaltyWords(0, strong), penaltyWords(-1, strong), penaltyWords(0, off), penaltyWords(1, strong)],
        penaltyWords(0, strong),
      ].flat();
      const got = await apply(logits, tableOf([part], 1, vocab), rows, { ...penaltyBase, vocab });
      for (const r of [0, 1, 2, 3, 4]) {
        const before = logits.slice(r * vocab, (r + 1) * vocab);
        const after = (got as Float32Array).slice(r * vocab, (r + 1) * vocab);
        const want = r % 4 === 0 ? before.map((x) => x - 4) : before;
        assertSameBits(`row ${r}`, new Uint32Array(after.buffer), new Uint32Array(want.buffer));
      }
    });
  });

  test("a replayed graph counts the token that it drew last, on the device", async () => {
    const vocab = 300;
    const values = new Rng(4).normal(vocab);
    const { stream } = backend;
    const draw = async (run: (launch: () => void) => void) => {
      const counts = backend.place("i32", [2, vocab], { values: new Int32Array(2 * vocab) });
      const raw = backend.floats([1, vocab], values);
      const logits = backend.place("f32", [1, vocab]).tensor;
      const tokens = backend.place("i32", [1], { values: [-1] }); // nothing was drawn before the first step
      const counted = backend.place("i32", [1, 5], { values: [1, 0, 1, 0, 0] }).tensor;
      const table = backend.place("i32", [1, 4], { values: penaltyWords(1, { ...off, presence: 1000 }) }).tensor;
      const params = backend.place("i32", [1, 8], { values: [0, 0, bitsOfFloat(1), 0, 0, 0, 0, 0] }).tensor;
      run(() => {
        countTokens(stream, { counts: counts.tensor, tokens: tokens.tensor, rows: counted });
        stream.copy(logits, raw);
        applyPenalties(stream, { logits, counts: counts.tensor, rows: table });
        sample(stream, { tokens: tokens.tensor, logits, params });
      });
      return (await tokens.values())[0];
    };
    const best = reference.ranking(values);
    for (const times of [1, 2, 40]) {
      const replayed = await draw((launch) => {
        const graph = backend.keep(stream.capture(launch));
        for (let i = 0; i < times; i++) stream.replay(graph);
      });
      const eager = await draw((launch) => {
        for (let i = 0; i < times; i++) launch();
      });
      expect([replayed, eager]).toEqual([best[times - 1], best[times - 1]]);
    }
  });
});
