import { logprobs } from "../../src/ops/sampling";
import { type Backend, describeEachBackend } from "../helpers/backends";
import { assertClose, tolerances } from "../helpers/close";
import * as reference from "../helpers/reference";
import { Rng } from "../helpers/rng";
import { cases } from "../helpers/table";

interface Row {
  readonly rows: number;
  readonly vocab: number;
  readonly top: number;
  readonly scale: number; // of the logits
  readonly shift: number; // added to the logits
  readonly levels: number | null; // logits take this many values only: many ties
  readonly masked: number; // every so many-th logit is -inf; 0 = none
  readonly rowPad: number;
}

const table = cases<Row>({ rows: 4, vocab: 50, top: 5, scale: 2, shift: 0, levels: null, masked: 0, rowPad: 0 }, [
  {},
  { rows: 0 }, // no rows
  { rows: 100 }, // more rows than threads
  { vocab: 1, top: 1 }, // one token
  { vocab: 17 }, // one more than a vector
  { vocab: 50257 }, // GPT-NeoX's vocabulary
  { top: 0 }, // the given token only
  { top: 20 }, // the most that a request may ask for
  { top: 50 }, // all tokens
  { scale: 0 }, // uniform: ids in ascending order
  { scale: 100 }, // nearly one-hot
  { shift: 1e4 }, // e^x overflows
  { shift: -1e4 }, // e^x underflows
  { levels: 3 }, // ties
  { masked: 2, top: 20 }, // half of the tokens are impossible
  { masked: 2, top: 50 }, // impossible tokens come last
  { rowPad: 13 }, // logits are a slice of a wider row
]);

async function launch(backend: Backend, row: Row, values: Float32Array, given: readonly number[]) {
  const { rows, vocab, top, rowPad } = row;
  const out = backend.place("f32", [rows, top + 1]);
  const ids = backend.place("i32", [rows, top + 1]);
  const x = backend.place("f32", [rows, vocab], { values, rowPad });
  logprobs(backend.stream, { values: out.tensor, ids: ids.tensor, logits: x.tensor, tokens: backend.integers(given) });
  const result = { values: await out.values(), ids: Array.from(await ids.values()) };
  await x.assertUnchanged("logits");
  return result;
}

function makeLogits({ rows, vocab, scale, shift, levels, masked }: Row): Float32Array {
  return new Rng(0).normal(rows * vocab, 0, scale).map((x, i) => {
    if (masked && i % masked === 0) return Number.NEGATIVE_INFINITY;
    return shift + (levels ? Math.abs(Math.round(x)) % levels : x);
  });
}

describeEachBackend((backend) => {
  test.each(table)("$name", async ({ row }) => {
    const { rows, vocab, top } = row;
    const logits = makeLogits(row);
    const given = Array.from({ length: rows }, (_, r) => (r * 7 + 1) % vocab);
    const want = { values: [] as number[], ids: [] as number[] };
    for (let r = 0; r < rows; r++) {
      const line = logits.subarray(r * vocab, (r + 1) * vocab);
      const order = reference.ranking(line);
      const likely = order.slice(0, top);
      const logs = reference.logSoftmax(line);
      want.ids.push(order.indexOf(given[r]!) + 1, ...likely);
      want.values.push(...[given[r]!, ...likely].map((id) => logs[id]!));
    }
    const got = await launch(backend, row, logits, given);
    expect(got.ids).toEqual(want.ids);
    assertClose("values", [rows, top + 1], got.values, want.values, tolerances.f32);
  });

  test("the given token may be one of the most likely ones", async () => {
    const row = { ...table[0]!.row, rows: 1, vocab: 3, top: 3 };
    const got = await launch(backend, row, Float32Array.from([0, 2, 1]), [1]);
    expect(got.ids).toEqual([1, 1, 2, 0]); // its rank, then ids
    expect(got.values[0]).toBe(got.values[1]);
  });

  test("a row of NaN does not touch its neighbours", async () => {
    const row = { ...table[0]!.row, rows: 3 };
    const logits = makeLogits(row);
    const clean = await launch(backend, row, logits, [1, 2, 3]);
    const dirty = await launch(backend, row, logits.slice().fill(Number.NaN, row.vocab, 2 * row.vocab), [1, 2, 3]);
    const width = row.top + 1;
    for (const r of [0, 2]) {
      expect(dirty.ids.slice(r * width, (r + 1) * width)).toEqual(clean.ids.slice(r * width, (r + 1) * width));
      expect(dirty.values.slice(r * width, (r + 1) * width)).toEqual(clean.values.slice(r * width, (r + 1) * width));
    }
    expect(dirty.values.slice(width, 2 * width).every(Number.isNaN)).toBe(true);
    expect(dirty.ids[width]).toBe(0);
  });

  test("a token outside of the vocabulary has no rank", async () => {
    const row = { ...table[0]!.row, rows: 2, vocab: 3, top: 1 };
    const got = await launch(backend, row, Float32Array.from([0, 2, 1, 0, 2, 1]), [-1, 3]);
    expect(got.ids).toEqual([0, 1, 0, 1]);
    expect([got.values[0], got.values[2]]).toEqual([Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY]);
  });

  test("every token's rank, each once", async () => {
    const vocab = 501;
    const row = { ...table[0]!.row, rows: vocab, vocab, top: 0 };
    const line = makeLogits({ ...row, rows: 1, levels: 7 });
    const logits = new Float32Array(vocab * vocab);
    for (let r = 0; r < vocab; r++) logits.set(line, r * vocab);
    const got = await launch(
      backend,
      row,
      logits,
      Array.from({ length: vocab }, (_, token) => token),
    );
    const want = new Int32Array(vocab);
    for (const [i, token] of reference.ranking(line).entries()) want[token] = i + 1;
    expect(got.ids).toEqual(Array.from(want));
  });
});
