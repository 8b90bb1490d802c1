import { BatchBuilder } from "../../src/engine/batch";
import { sliceBatch } from "../../src/engine/batch-tensors";
import { Sequence } from "../../src/engine/policy/sequence";
import { createStatePool } from "../../src/engine/state-pool";
import type { LayerState } from "../../src/layers/forward";
import { loadModelConfig, type ModelConfig } from "../../src/models/config";
import type { Model } from "../../src/models/model";
import { loadModel, stateShapes } from "../../src/models/registry";
import type { Arena } from "../../src/tensor/arena";
import { Device, type DeviceKind } from "../../src/tensor/device";
import type { DType } from "../../src/tensor/dtype";
import { Checkpoint } from "../../src/weights/checkpoint";
import { type ComputeDtype, WeightLoader } from "../../src/weights/loader";
import { WeightScope } from "../../src/weights/scope";
import { testDevices } from "./backends";
import { makeRequest } from "./engine-request";

/** Part of a sequence in a step: `tokens` follow the `start` tokens that slot `slot` has taken. */
export interface Part {
  readonly tokens: readonly number[];
  readonly start: number;
  readonly slot: number;
}

const MAX_SEQS = 8;
const MAX_TOKENS = 1024;
const ARENA_BYTES = 256 << 20;

/** A model without an engine: the test decides what every step holds, and sees the logits of every token. */
export class ModelHarness {
  private readonly builder: BatchBuilder;
  private readonly arena: Arena;

  private constructor(
    readonly device: Device,
    readonly config: ModelConfig,
    private readonly model: Model,
    private readonly state: readonly LayerState[],
  ) {
    this.builder = new BatchBuilder({
      maxNumSeqs: MAX_SEQS,
      maxNumBatchedTokens: MAX_TOKENS,
      chunkSize: config.chunkSize,
    });
    this.arena = device.arena(ARENA_BYTES);
    this.poison();
  }

  static async load(
    dir: string,
    dtype: ComputeDtype,
    options: { stateDtype?: DType; threads?: number; device?: DeviceKind } = {},
  ): Promise<ModelHarness> {
    const config = loadModelConfig(dir);
    const device = Device.open({ kind: options.device ?? testDevices[0]!, threads: options.threads ?? 2 });
    const loader = new WeightLoader(device, dtype);
    const model = await loadModel(config, loader, WeightScope.ofCheckpoint(Checkpoint.open(dir)));
    loader.close();
    const dtypes = { conv: dtype, ssm: options.stateDtype ?? "f32" };
    return new ModelHarness(device, config, model, createStatePool(device, stateShapes(config), dtypes, MAX_SEQS));
  }

  /** Every slot becomes NaN. */
  poison(): void {
    for (const { conv, ssm } of this.state) {
      this.device.stream.fill(conv, 0xff);
      this.device.stream.fill(ssm, 0xff);
    }
  }

  /** One step; prefill parts first. Returns each part's logits [tokens, vocab]. With `replay` it is captured and replayed. */
  async step(parts: readonly Part[], { replay = false } = {}): Promise<Float32Array[]> {
    const { stream } = this.device;
    const rows = parts.map(({ tokens, start, slot }, i) => {
      const filler = new Array<number>(start).fill(0);
      const sequence = new Sequence(makeRequest({ id: `${i}`, prompt: [...filler, ...tokens] }), i, 1 << 20);
      sequence.slot = slot;
      return { sequence, start, numTokens: tokens.length, samples: false, draw: -1 };
    });
    const isPrefill = (row: { start: number; numTokens: number }) => row.start === 0 || row.numTokens !== 1;
    const numPrefills = rows.filter(isPrefill).length;
    if (!rows.slice(0, numPrefills).every(isPrefill)) throw new Error("prefill parts come first");
    const numTokens = rows.reduce((sum, row) => sum + row.numTokens, 0);
    const counts = this.builder.build({ rows, numPrefills, numTokens, numLogits: 0 });
    const { vocabSize } = this.config;
    const out = new Float32Array(numTokens * vocabSize);
    await this.arena.scope(() => {
      const block = this.arena.tensor("i32", [this.builder.layout.numWords]);
      stream.upload(block, this.builder.words);
      const batch = sliceBatch(block, this.builder.layout, counts);
      const f = { stream, arena: this.arena, state: this.state, batch };
      const logits = this.arena.tensor("f32", [numTokens, vocabSize]);
      const launch = () => this.model.logits(f, this.model.forward(f), logits);
      if (replay) stream.replay(stream.capture(launch));
      else launch();
      return stream.download(logits, out);
    });
    let row = 0;
    return rows.map((part) => {
      const begin = row;
      row += part.numTokens;
      return out.slice(begin * vocabSize, row * vocabSize);
    });
  }

  /** A sequence cut into pieces, one step each. */
  async run(tokens: readonly number[], cuts: readonly number[], slot = 0): Promise<Float32Array> {
    const pieces: Float32Array[] = [];
    for (let i = 0, start = 0; i <= cuts.length; i++) {
      const end = cuts[i] ?? tokens.length;
      pieces.push((await this.step([{ tokens: tokens.slice(start, end), start, slot }]))[0]!);
      start = end;
    }
    const all = new Float32Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
    let at = 0;
    for (const piece of pieces) {
      all.set(piece, at);
      at += piece.length;
    }
    return all;
  }

  close(): void {
    this.device.close();
  }
}
