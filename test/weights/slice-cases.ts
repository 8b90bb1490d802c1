import type { Range } from "../../src/weights/range";
import type { Kind } from "./stored-matrices";

/** Elements of a tensor [matrices, n, k] at these rows of each matrix, or these columns. */
export function elements(
  values: Float32Array,
  [n, k]: readonly [number, number],
  rows: readonly Range[],
  columns: Range,
) {
  const inRanges = (at: number, ranges: readonly Range[]) => ranges.some(([begin, end]) => begin <= at && at < end);
  return values.filter((_, i) => inRanges(Math.floor(i / k) % n, rows) && inRanges(i % k, [columns]));
}

export interface SliceCase {
  readonly kind: Kind;
  readonly shape: readonly [n: number, k: number];
  /** Columns of whole groups, or within one. */
  readonly whole: string;
  /** Others. */
  readonly cut: string;
}

export const sliceCases: readonly SliceCase[] = [
  { kind: "f32", shape: [7, 9], whole: "", cut: "0:4 3:8 5:9" },
  { kind: "bf16", shape: [5, 11], whole: "", cut: "0:1 3:8 10:11" },
  { kind: "dummy", shape: [7, 9], whole: "", cut: "0:4 3:8 5:9" },
  { kind: "fp8, a scale", shape: [5, 11], whole: "0:1 3:8 5:11", cut: "" },
  { kind: "fp8, a scale for each row", shape: [5, 11], whole: "0:1 3:8 5:11", cut: "" },
  { kind: "fp8 in blocks", shape: [130, 300], whole: "0:128 128:300 130:133 256:300", cut: "0:150 100:300" },
  { kind: "nvfp4", shape: [5, 48], whole: "0:16 16:48 20:30", cut: "8:40 17:32" },
  { kind: "gptq", shape: [16, 160], whole: "0:64 64:160 66:100 128:160", cut: "32:96 65:100 66:99" },
  { kind: "gptq, one group", shape: [8, 40], whole: "0:20 8:40 38:40", cut: "3:40 0:21" },
  { kind: "gptq, groups in no order", shape: [8, 128], whole: "", cut: "0:64 3:128" },
  { kind: "awq", shape: [24, 128], whole: "0:64 64:128 0:32", cut: "32:96 1:64" },
  { kind: "Q8_0", shape: [6, 256], whole: "0:32 64:256 33:60", cut: "16:64 0:255" },
  { kind: "Q4_0", shape: [6, 256], whole: "0:32 64:256 34:60", cut: "16:64 33:60 0:255" },
  { kind: "Q6_K", shape: [6, 256], whole: "0:16 48:256 17:30", cut: "8:64 0:255" },
];

export const rangesOf = (text: string): Range[] =>
  text === "" ? [] : text.split(" ").map((range) => range.split(":").map(Number) as [number, number]);
