import { createPools } from "../../src/engine/loaded-model";
import { PAGE_SIZE } from "../../src/engine/policy/kv-pages";
import { Sequence } from "../../src/engine/policy/sequence";
import { batchOf, noDrafts } from "../../src/engine/policy/step-plan";
import { StepForward } from "../../src/engine/step-forward";
import { fieldsOf } from "../../src/engine/step-launcher";
import { ModelBuild } from "../../src/layers/build";
import type { Pools } from "../../src/layers/cache";
import type { Rank } from "../../src/layers/share";
import { loadModelConfig, type ModelConfig } from "../../src/models/config";
import type { Model } from "../../src/models/model";
import { loadModel } from "../../src/models/registry";
import { openWeights } from "../../src/models/stored-weights";
import { StepBlock } from "../../src/step/block";
import type { Arena } from "../../src/tensor/arena";
import { Device, type DeviceKind } from "../../src/tensor/device";
import type { DType } from "../../src/tensor/dtype";
import { DeviceLoader } from "../../src/weights/device-loader";
import type { QuantizeFormat } from "../../src/weights/packed-form";
import type { ComputeDtype } from "../../src/weights/weight-loader";
import { testDevices } from "./backends";
import { makeRequest } from "./engine-request";

/** Part of a sequence in a step: `tokens` follow the `start` tokens that slot `slot` has taken. */
export interface Part {
  readonly tokens: readonly number[];
  readonly start: number;
  readonly slot: number;
}

export interface HarnessOptions {
  readonly stateDtype?: DType;
  readonly kvDtype?: DType;
  readonly threads?: number;
  readonly device?: DeviceKind;
  readonly quantize?: QuantizeFormat;
  readonly withMtp?: boolean;
  /** A rank of a group, on a device that was opened for it. */
  readonly rank?: { readonly device: Device; readonly place: Rank };
}

const MAX_SEQS = 8;
const MAX_TOKENS = 1024;
const PAGES_PER_SEQ = MAX_TOKENS / PAGE_SIZE;
const PAGES = MAX_SEQS * PAGES_PER_SEQ;
const ARENA_BYTES = 256 << 20;

/** Pages of one slot lie apart and backwards. */
const pageOf = (slot: number, page: number): number => PAGES - 1 - (page * MAX_SEQS + slot);

/** A model without an engine: the test decides what every step holds, and sees the logits of every token. */
export class ModelHarness {
  private readonly block: StepBlock;
  private readonly arena: Arena;

  private constructor(
    readonly device: Device,
    readonly config: ModelConfig,
    private readonly model: Model,
    private readonly pools: readonly Pools[],
  ) {
    this.block = new StepBlock(fieldsOf(model), {
      ...{ maxRows: MAX_SEQS, maxTokens: MAX_TOKENS, maxDraws: MAX_SEQS },
      ...{ maxModelLen: PAGES_PER_SEQ * PAGE_SIZE, maxKvTokens: PAGES * PAGE_SIZE, rowsAlone: !device.choosesKernels },
    });
    this.arena = device.arena(ARENA_BYTES);
    this.poison();
  }

  static async load(dir: string, dtype: ComputeDtype, options: HarnessOptions = {}): Promise<ModelHarness> {
    const config = loadModelConfig(dir);
    const { device: kind = testDevices[0]!, threads = 2, rank } = options;
    const device = rank?.device ?? Device.open({ kind, threads });
    const loader = new DeviceLoader(device, dtype, undefined, options.quantize);
    const { stateDtype = "f32", kvDtype, withMtp } = options;
    const build = new ModelBuild(loader, { stateDtype, kvDtype, withMtp, place: rank?.place });
    const model = await loadModel(config, build, openWeights(dir).scope());
    loader.close();
    return new ModelHarness(device, config, model, createPools({ device, model }, { slots: MAX_SEQS, pages: PAGES }));
  }

  /** Every slot becomes NaN. */
  poison(): void {
    for (const pools of this.pools) for (const pool of Object.values(pools)) this.device.stream.fill(pool, 0xff);
  }

  /**
   * One step; prefill parts first. Returns each part's logits [tokens, vocab]. With `replay` it is captured and replayed. With
   * `next`, the token after each of the step's, the logits are those of the head that predicts one token more.
   */
  async step(
    parts: readonly Part[],
    { replay = false, next = null as readonly number[] | null } = {},
  ): Promise<Float32Array[]> {
    const { stream } = this.device;
    const rows = parts.map(({ tokens, start, slot }, i) => {
      const filler = new Array<number>(start).fill(0);
      const sequence = new Sequence(makeRequest({ id: `${i}`, prompt: [...filler, ...tokens] }), i, 1 << 20);
      sequence.slot = slot;
      if (slot >= 0) for (let page = 0; page < PAGES_PER_SEQ; page++) sequence.pages.push(pageOf(slot, page));
      return { sequence, start, numTokens: tokens.length, draws: 0, draw: -1, drafts: noDrafts };
    });
    const isPrefill = (row: { start: number; numTokens: number }) => row.start === 0 || row.numTokens !== 1;
    const numPrefills = rows.filter(isPrefill).length;
    if (!rows.slice(0, numPrefills).every(isPrefill)) throw new Error("prefill parts come first");
    const batch = batchOf(rows, numPrefills);
    const { numTokens, numPrefillTokens } = batch;
    this.block.write(batch);
    const { vocabSize } = this.config;
    const out = new Float32Array(numTokens * vocabSize);
    await this.arena.scope(() => {
      const block = this.arena.tensor("i32", [this.block.numWords]);
      stream.upload(block, this.block.words);
      const views = this.block.views(block);
      const f = new StepForward(stream, this.arena, numTokens, numPrefillTokens, views, this.pools);
      const logits = this.arena.tensor("f32", [numTokens, vocabSize]);
      const { mtp: head } = this.model;
      const ids = next && this.arena.tensor("i32", [numTokens]);
      if (ids !== null) stream.upload(ids, Int32Array.from(next!));
      const launch = () => {
        if (next === null) return this.model.logits(f, this.model.forward(f), logits);
        const [hidden, made] = [0, 1].map(() => this.arena.tensor(head!.dtype, [numTokens, head!.width]));
        this.model.forward(f, hidden);
        head!.forward(f, ids!, hidden!, made!);
        head!.logits(f, made!, logits);
      };
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
