import { closeSync, openSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
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
import { GgufWriter } from "../../../test/helpers/gguf-writer";

/** Kinds of tokens (ggml's tokenizer.ggml.token_type). */
const tokenTypes = { normal: 1, control: 3, unused: 5 };

/**
 * Writes a Mamba-2 checkpoint as GGUF: matrices bf16, the rest f32. `weights` may be dummies; the tokenizer is that of
 * `tokenizerDir`, its vocabulary filled up with unused tokens.
 */
export function writeGguf(modelDir: string, target: string, options: { dummy: boolean; tokenizerDir: string }): void {
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
    type: "f32" | "bf16",
    dims: readonly number[],
    weight: WeightDescriptor,
    change = (values: Float32Array) => values,
  ) => {
    const bytes = elementsOf(dims) * (type === "f32" ? 4 : 2);
    const data = () => asBytes(toBits(change(valuesOf(weight)), type));
    writer.later(name, type === "f32" ? "F32" : "BF16", dims.toReversed(), bytes, data);
  };
  add(
    "token_embd.weight",
    "bf16",
    [hiddenSize, vocabSize],
    weights.tensor("embeddings.weight", [vocabSize, hiddenSize]),
  );
  add("output_norm.weight", "f32", [hiddenSize], weights.tensor("norm_f.weight", [hiddenSize], initial.ones));
  for (let i = 0; i < numLayers; i++) {
    const layer = weights.scope("layers").scope(i);
    const mixer = layer.scope("mixer");
    const block = (name: string) => `blk.${i}.${name}`;
    const width = inner + convDim + heads;
    add(block("attn_norm.weight"), "f32", [hiddenSize], layer.tensor("norm.weight", [hiddenSize], initial.ones));
    add(block("ssm_in.weight"), "bf16", [hiddenSize, width], mixer.tensor("in_proj.weight", [width, hiddenSize]));
    add(
      block("ssm_conv1d.weight"),
      "f32",
      [convKernel, convDim],
      mixer.tensor("conv1d.weight", [convDim, 1, convKernel], recurrentInitial.taps(convKernel)),
    );
    add(block("ssm_conv1d.bias"), "f32", [convDim], mixer.tensor("conv1d.bias", [convDim], initial.zeros));
    add(block("ssm_dt.bias"), "f32", [heads], mixer.tensor("dt_bias", [heads], recurrentInitial.timeStepBias));
    add(block("ssm_a"), "f32", [1, heads], mixer.tensor("A_log", [heads], recurrentInitial.logDecay), (values) =>
      values.map((a) => -Math.exp(a)),
    );
    add(block("ssm_d"), "f32", [1, heads], mixer.tensor("D", [heads], recurrentInitial.skip));
    add(block("ssm_norm.weight"), "f32", [inner / groups, groups], mixer.tensor("norm.weight", [inner], initial.ones));
    add(block("ssm_out.weight"), "bf16", [inner, hiddenSize], mixer.tensor("out_proj.weight", [hiddenSize, inner]));
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

function asBytes(values: Float32Array | Uint16Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}
