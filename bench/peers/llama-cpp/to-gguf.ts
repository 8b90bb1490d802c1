import { closeSync, openSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { tensorTypes as storedTypes } from "../../../src/gguf/tensor-types";
import { recurrentInitial } from "../../../src/layers/recurrent-initial";
import { loadModelConfig, type Mamba2Config } from "../../../src/models/config";
import { mamba2Name } from "../../../src/models/mamba2";
import { sizeOf } from "../../../src/tensor/dtype";
import { elementsOf } from "../../../src/tensor/shape";
import { Checkpoint } from "../../../src/weights/checkpoint";
import type { WeightDescriptor } from "../../../src/weights/descriptor";
import { dummyValues, initial } from "../../../src/weights/dummy";
import { fromBits, toBits } from "../../../src/weights/float-bits";
import type { FilePart } from "../../../src/weights/part";
import { readPart } from "../../../src/weights/read-part";
import { WeightScope } from "../../../src/weights/scope";
import { quantizers } from "../../../test/helpers/gguf-quantizers";
import { GgufWriter, tensorTypes } from "../../../test/helpers/gguf-writer";

/** Kinds of tokens (ggml's tokenizer.ggml.token_type). */
const tokenTypes = { normal: 1, control: 3, unused: 5 };

/** Types of tensors in the files that are written here. */
type TensorType = "F32" | "BF16" | "Q8_0" | "Q4_K" | "Q6_K";

/** What matrices become. Of Q4_K_S llama-quantize keeps a tied embedding in more bits, and all else in Q4_K. */
const matrixTypes = {
  BF16: () => "BF16",
  Q8_0: () => "Q8_0",
  Q4_K_S: (name) => (name === "token_embd.weight" ? "Q6_K" : "Q4_K"),
} as const satisfies Record<string, (name: string) => TensorType>;

export type GgufFormat = keyof typeof matrixTypes;

export interface PeerFile {
  readonly format: GgufFormat;
  /** Weights are dummies. */
  readonly dummy: boolean;
  /** Has the tokenizer; the vocabulary is filled up with unused tokens. */
  readonly tokenizerDir: string;
}

/** Writes a Mamba-2 checkpoint as GGUF: what is no matrix in F32. */
export function writeGguf(modelDir: string, target: string, options: PeerFile): void {
  const config = loadModelConfig(modelDir) as Mamba2Config;
  const checkpoint = options.dummy ? WeightScope.ofDummy() : WeightScope.ofCheckpoint(Checkpoint.open(modelDir));
  const weights = checkpoint.named(mamba2Name);
  const { hiddenSize, vocabSize, numLayers } = config;
  const { inner, convDim, convKernel, heads, groups, stateSize } = config.ssm;

  const writer = new GgufWriter();
  writer.key("general.architecture", "string", "mamba2");
  writer.key("general.name", "string", "peer");
  writer.key("mamba2.context_length", "uint32", 2 ** 20);
  writer.key("mamba2.embedding_length", "uint32", hiddenSize);
  writer.key("mamba2.feed_forward_length", "uint32", 0);
  writer.key("mamba2.attention.head_count", "uint32", 0);
  writer.key("mamba2.block_count", "uint32", numLayers);
  writer.key("mamba2.ssm.conv_kernel", "uint32", convKernel);
  writer.key("mamba2.ssm.inner_size", "uint32", inner);
  writer.key("mamba2.ssm.state_size", "uint32", stateSize);
  writer.key("mamba2.ssm.time_step_rank", "uint32", heads);
  writer.key("mamba2.ssm.group_count", "uint32", groups);
  writer.key("mamba2.attention.layer_norm_rms_epsilon", "float32", config.normEps);
  addTokenizer(writer, options.tokenizerDir, vocabSize);

  const add = (
    name: string,
    dims: readonly number[],
    weight: WeightDescriptor,
    change = (values: Float32Array) => values,
    type: TensorType = "F32",
  ) => {
    const block = storedTypes.get(tensorTypes[type])!;
    const bytes = (elementsOf(dims) / block.elements) * block.bytes;
    writer.later(name, type, dims.toReversed(), bytes, () => encoded(change(valuesOf(weight)), type));
  };
  const addMatrix = (name: string, dims: readonly [k: number, n: number], weight: WeightDescriptor) =>
    add(name, dims, weight, (values) => values, matrixTypes[options.format](name));
  addMatrix("token_embd.weight", [hiddenSize, vocabSize], weights.tensor("embeddings.weight", [vocabSize, hiddenSize]));
  add("output_norm.weight", [hiddenSize], weights.tensor("norm_f.weight", [hiddenSize], initial.ones));
  for (let i = 0; i < numLayers; i++) {
    const layer = weights.scope("layers").scope(i);
    const mixer = layer.scope("mixer");
    const block = (name: string) => `blk.${i}.${name}`;
    const width = inner + convDim + heads;
    add(block("attn_norm.weight"), [hiddenSize], layer.tensor("norm.weight", [hiddenSize], initial.ones));
    addMatrix(block("ssm_in.weight"), [hiddenSize, width], mixer.tensor("in_proj.weight", [width, hiddenSize]));
    add(
      block("ssm_conv1d.weight"),
      [convKernel, convDim],
      mixer.tensor("conv1d.weight", [convDim, 1, convKernel], recurrentInitial.taps(convKernel)),
    );
    add(block("ssm_conv1d.bias"), [convDim], mixer.tensor("conv1d.bias", [convDim], initial.zeros));
    add(block("ssm_dt.bias"), [heads], mixer.tensor("dt_bias", [heads], recurrentInitial.timeStepBias));
    add(block("ssm_a"), [1, heads], mixer.tensor("A_log", [heads], recurrentInitial.logDecay), (values) =>
      values.map((a) => -Math.exp(a)),
    );
    add(block("ssm_d"), [1, heads], mixer.tensor("D", [heads], recurrentInitial.skip));
    add(block("ssm_norm.weight"), [inner / groups, groups], mixer.tensor("norm.weight", [inner], initial.ones));
    addMatrix(block("ssm_out.weight"), [inner, hiddenSize], mixer.tensor("out_proj.weight", [hiddenSize, inner]));
  }
  const file = openSync(target, "w");
  for (const chunk of writer.chunks()) writeSync(file, chunk);
  closeSync(file);
}

function addTokenizer(writer: GgufWriter, dir: string, vocabSize: number): void {
  const file = JSON.parse(readFileSync(join(dir, "tokenizer.json"), "utf8")) as {
    model: { vocab: Record<string, number>; merges: (string | [string, string])[] };
    added_tokens: { id: number }[];
  };
  const tokens = Array.from({ length: vocabSize }, (_, i) => `[PAD${i}]`);
  const kinds = new Array<number>(vocabSize).fill(tokenTypes.unused);
  for (const [token, id] of Object.entries(file.model.vocab)) {
    tokens[id] = token;
    kinds[id] = tokenTypes.normal;
  }
  for (const { id } of file.added_tokens) kinds[id] = tokenTypes.control;
  writer.key("tokenizer.ggml.model", "string", "gpt2");
  writer.key("tokenizer.ggml.pre", "string", "gpt-2");
  writer.list("tokenizer.ggml.tokens", "string", tokens);
  writer.list("tokenizer.ggml.token_type", "int32", kinds);
  writer.list(
    "tokenizer.ggml.merges",
    "string",
    file.model.merges.map((merge) => (typeof merge === "string" ? merge : merge.join(" "))),
  );
  writer.key("tokenizer.ggml.bos_token_id", "uint32", 0);
  writer.key("tokenizer.ggml.eos_token_id", "uint32", 4);
  writer.key("tokenizer.ggml.add_bos_token", "bool", false);
}

function valuesOf({ source, dtype }: WeightDescriptor): Float32Array {
  if ("dummy" in source) return dummyValues(source.dummy, sizeOf(dtype));
  if ("values" in source) return source.values(readPart);
  const [part] = source.parts as [FilePart];
  return fromBits(readPart(part).buffer, dtype);
}

function encoded(values: Float32Array, type: TensorType): Uint8Array {
  if (type !== "F32" && type !== "BF16") return quantizers[type](values).bytes;
  const bits = toBits(values, type === "F32" ? "f32" : "bf16");
  return new Uint8Array(bits.buffer, bits.byteOffset, bits.byteLength);
}
