import { loadModelConfig, type Mamba2Config } from "../src/models/config";
import type { BenchFormat, BenchModel } from "./cpu-models";
import type { FormatRates } from "./cpu-rates";
import { layerRate, type Yardsticks } from "./yardsticks";

export interface Figure {
  readonly model: string;
  readonly format: string;
  readonly figure: string;
  readonly value: number;
  readonly unit: string;
  readonly wanted: string;
  readonly met: boolean | null;
}

/** Bytes that a decode step in bf16 must move, and matrix operations of a prefilled token. */
function workOf(model: BenchModel): { decodeBytes: number; prefillFlops: number } {
  const { hiddenSize, vocabSize, numLayers, ssm } = loadModelConfig(model.dir) as Mamba2Config;
  const { inner, convDim, heads, headDim, stateSize } = ssm;
  const layerWeights = hiddenSize * (inner + convDim + heads) + inner * hiddenSize;
  const weights = numLayers * layerWeights + vocabSize * hiddenSize;
  const states = numLayers * heads * headDim * stateSize * 4;
  return { decodeBytes: 2 * weights + 2 * states, prefillFlops: 2 * numLayers * layerWeights };
}

/** What is shown of one format of a model's; `bf16` has the rates of the same model in that type. */
export function figuresOf(
  model: BenchModel,
  format: BenchFormat,
  { own, peer, loopDelayMs }: FormatRates,
  bf16: FormatRates,
  yardsticks: Yardsticks,
): Figure[] {
  const { wanted } = format;
  const figures: Figure[] = [];
  const judged = (figure: string, value: number, unit: string, wanted: string, met: boolean | null) =>
    figures.push({ model: model.name, format: format.name, figure, value, unit, wanted, met });
  const add = (figure: string, value: number, unit: string, least?: number) =>
    judged(figure, value, unit, least === undefined ? "" : `>= ${least}`, least === undefined ? null : value >= least);
  const { decodeBytes, prefillFlops } = workOf(model);

  add("decode", own.decode, "tok/s");
  if (format.name === "bf16") {
    const floor = (yardsticks.gbps * 1e9) / decodeBytes;
    add("decode, share of the bandwidth floor", (100 * own.decode) / floor, "%", 60);
  } else {
    add("decode, times bf16's", own.decode / bf16.own.decode, "x", wanted.speedup);
  }
  if (peer !== null) {
    add("decode, llama.cpp", peer.decode, "tok/s");
    add("decode, ratio", own.decode / peer.decode, "x", wanted.decode);
  }
  add("prefill", own.prefill, "tok/s");
  const oneDnn = layerRate(yardsticks, model.shapes, "peer_gflops");
  if (format.name === "bf16") {
    const rate = (own.prefill * prefillFlops) / 1e9;
    add("prefill, matrix rate", rate, "GFLOP/s");
    if (oneDnn > 0) {
      const least = wanted.oneDnnShare;
      add("oneDNN on the same shapes", oneDnn, "GFLOP/s");
      add("prefill, share of oneDNN's rate", (100 * rate) / oneDnn, "%", least && 100 * least);
    }
  }
  if (peer !== null) {
    add("prefill, llama.cpp", peer.prefill, "tok/s");
    add("prefill, ratio", own.prefill / peer.prefill, "x", wanted.prefill);
  }
  judged("event-loop delay p99, 2000-token prefill", loopDelayMs, "ms", "< 10", loopDelayMs < 10);
  return figures;
}
