import { logprobs, sample } from "../../ops/sampling";
import type { Geometry } from "../geometries";
import { type Build, type Cases, FLOAT, type KernelCase } from "../kernel-case";

/** What a request asks for; see SamplingRow in native/ops/sampling.h. */
interface Draw {
  readonly name: string;
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
}

const draws: readonly Draw[] = [
  { name: "greedy", temperature: 0, topK: 0, topP: 1 },
  { name: "top-k 50, top-p 0.95", temperature: 0.8, topK: 50, topP: 0.95 },
];
const batches = [1, 8, 64, 256];
const CHECKED_ROWS = 16;
const TOP = 5;
const ROW_WORDS = 8;

export const sampleCases: Cases = (geometry) =>
  draws.flatMap((draw) =>
    batches.map((rows) => caseOf("sample", geometry, rows, draw.name, (count) => drawing(geometry, count, draw))),
  );

export const logprobsCases: Cases = (geometry) =>
  batches.map((rows) => caseOf("logprobs", geometry, rows, `top ${TOP}`, (count) => scoring(geometry, count)));

function caseOf(
  op: "sample" | "logprobs",
  geometry: Geometry,
  rows: number,
  variant: string,
  build: (rows: number) => Build,
): KernelCase {
  const { vocab } = geometry;
  const checked = Math.min(rows, CHECKED_ROWS);
  const nameOf = (count: number) => `vocab ${vocab}, B=${count}, ${variant}`;
  return {
    op,
    name: nameOf(rows),
    geometry,
    tokens: rows,
    stateDtype: null,
    // The logits, once.
    bytes: rows * vocab * FLOAT,
    // A comparison of each logit; its exponential and their sum as well.
    flops: rows * vocab * (op === "sample" ? 1 : 3),
    timed: build(rows),
    checked: build(checked),
    checkedName: nameOf(checked),
  };
}

function drawing({ vocab }: Geometry, rows: number, { temperature, topK, topP }: Draw): Build {
  return (inputs) => {
    const words = new Int32Array(rows * ROW_WORDS);
    const floats = new Float32Array(words.buffer);
    for (let row = 0; row < rows; row++) {
      const at = row * ROW_WORDS;
      floats[at] = temperature;
      words[at + 1] = topK;
      floats[at + 2] = topP;
      words[at + 4] = row;
      words[at + 6] = 1;
    }
    const params = inputs.words(words, [rows, ROW_WORDS]);
    const logits = inputs.normal("f32", [rows, vocab]);
    const tokens = inputs.output("i32", [rows]);
    return { launch: () => sample(inputs.stream, { tokens, logits, params }), outputs: { tokens } };
  };
}

function scoring({ vocab }: Geometry, rows: number): Build {
  return (inputs) => {
    const logits = inputs.normal("f32", [rows, vocab]);
    const tokens = inputs.words(Array.from({ length: rows }, (_, row) => (row * 7919) % vocab));
    const values = inputs.output("f32", [rows, 1 + TOP]);
    const ids = inputs.output("i32", [rows, 1 + TOP]);
    return { launch: () => logprobs(inputs.stream, { values, ids, logits, tokens }), outputs: { values, ids } };
  };
}
