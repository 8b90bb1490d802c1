import { closeSync, openSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { recurrentInitial } from "../../../src/layers/recurrent-initial";
import { loadModelConfig, type Mamba2Config } from "../../../src/models/config";
import { mamba2Name } from "../../../src/models/mamba2";
import { elementsOf } from "../../../src/tensor/shape";
import { Checkpoint } from "../../../src/weights/checkpoint";
import type { FilePart, WeightDescriptor } from "../../../src/weights/descriptor";
import { fillDummy, initial } from "../../../src/weights/dummy";
import { fromBits, toBits } from "../../../src/weights/float-bits";
import { readPart } from "../../../src/weights/read-part";
import { WeightScope } from "../../../src/weights/scope";

/** Numbers of the GGUF format, version 3 (ggml's docs/gguf.md). */
const types = { uint32: 4, int32: 5, float32: 6, bool: 7, string: 8, array: 9 };
const tensorTypes = { f32: 0, bf16: 30 };
const tokenTypes = { normal: 1, control: 3, unused: 5 };
const ALIGNMENT = 32;

/** Bytes put one after the other, little endian. */
class Writer {
  private readonly parts: Buffer[] = [];
  length = 0;

  bytes(data: Uint8Array): this {
    this.parts.push(Buffer.from(data.buffer, data.byteOffset, data.byteLength));
    this.length += data.byteLength;
    return this;
  }

  uint32(value: number): this {
    const data = Buffer.alloc(4);
    data.writeUInt32LE(value);
    return this.bytes(data);
  }

  uint64(value: number): this {
    const data = Buffer.alloc(8);
    data.writeBigUInt64LE(BigInt(value));
    return this.bytes(data);
  }

  float32(value: number): this {
    const data = Buffer.alloc(4);
    data.writeFloatLE(value);
    return this.bytes(data);
  }

  string(text: string): this {
    const data = Buffer.from(text, "utf8");
    return this.uint64(data.length).bytes(data);
  }

  pad(): this {
    return this.bytes(Buffer.alloc((ALIGNMENT - (this.length % ALIGNMENT)) % ALIGNMENT));
  }

  concat(): Buffer {
    return Buffer.concat(this.parts);
  }
}

/** Key-value metadata. */
class Metadata {
  private readonly out = new Writer();
  count = 0;

  private key(name: string, type: number): Writer {
    this.count += 1;
    return this.out.string(name).uint32(type);
  }

  string(name: string, value: string): void {
    this.key(name, types.string).string(value);
  }

  uint32(name: string, value: number): void {
    this.key(name, types.uint32).uint32(value);
  }

  float32(name: string, value: number): void {
    this.key(name, types.float32).float32(value);
  }

  bool(name: string, value: boolean): void {
    this.key(name, types.bool).bytes(Buffer.from([value ? 1 : 0]));
  }

  strings(name: string, values: readonly string[]): void {
    const out = this.key(name, types.array).uint32(types.string).uint64(values.length);
    for (const value of values) out.string(value);
  }

  int32s(name: string, values: readonly number[]): void {
    this.key(name, types.array)
      .uint32(types.int32)
      .uint64(values.length)
      .bytes(new Uint8Array(Int32Array.from(values).buffer));
  }

  concat(): Buffer {
    return this.out.concat();
  }
}

interface Entry {
  readonly name: string;
  readonly type: keyof typeof tensorTypes;
  /** As ggml counts them: the fastest dimension first. */
  readonly dims: readonly number[];
  readonly weight: WeightDescriptor;
  readonly change?: (values: Float32Array) => Float32Array;
}

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

  const metadata = new Metadata();
  metadata.string("general.architecture", "mamba2");
  metadata.string("general.name", "peer");
  metadata.uint32("mamba2.context_length", 2 ** 20);
  metadata.uint32("mamba2.embedding_length", hiddenSize);
  metadata.uint32("mamba2.feed_forward_length", 0);
  metadata.uint32("mamba2.attention.head_count", 0);
  metadata.uint32("mamba2.block_count", numLayers);
  metadata.uint32("mamba2.ssm.conv_kernel", convKernel);
  metadata.uint32("mamba2.ssm.inner_size", inner);
  metadata.uint32("mamba2.ssm.state_size", stateSize);
  metadata.uint32("mamba2.ssm.time_step_rank", heads);
  metadata.uint32("mamba2.ssm.group_count", groups);
  metadata.float32("mamba2.attention.layer_norm_rms_epsilon", config.normEps);
  addTokenizer(metadata, options.tokenizerDir, vocabSize);

  const entries: Entry[] = [];
  const add = (name: string, type: Entry["type"], dims: number[], weight: WeightDescriptor, change?: Entry["change"]) =>
    entries.push({ name, type, dims, weight, ...(change === undefined ? {} : { change }) });
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
  write(target, metadata, entries);
}

function addTokenizer(metadata: Metadata, dir: string, vocabSize: number): void {
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
  metadata.string("tokenizer.ggml.model", "gpt2");
  metadata.string("tokenizer.ggml.pre", "gpt-2");
  metadata.strings("tokenizer.ggml.tokens", tokens);
  metadata.int32s("tokenizer.ggml.token_type", kinds);
  metadata.strings(
    "tokenizer.ggml.merges",
    file.model.merges.map((merge) => (typeof merge === "string" ? merge : merge.join(" "))),
  );
  metadata.uint32("tokenizer.ggml.bos_token_id", 0);
  metadata.uint32("tokenizer.ggml.eos_token_id", 4);
  metadata.bool("tokenizer.ggml.add_bos_token", false);
}

function write(target: string, metadata: Metadata, entries: readonly Entry[]): void {
  const header = new Writer().bytes(Buffer.from("GGUF")).uint32(3).uint64(entries.length).uint64(metadata.count);
  header.bytes(metadata.concat());
  let offset = 0;
  for (const { name, type, dims } of entries) {
    header.string(name).uint32(dims.length);
    for (const dim of dims) header.uint64(dim);
    header.uint32(tensorTypes[type]).uint64(offset);
    const bytes = elementsOf(dims) * (type === "f32" ? 4 : 2);
    offset += Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
  }
  const file = openSync(target, "w");
  writeSync(file, header.pad().concat());
  for (const { type, weight, change } of entries) {
    const values = valuesOf(weight);
    writeSync(
      file,
      new Writer()
        .bytes(asBytes(toBits(change?.(values) ?? values, type)))
        .pad()
        .concat(),
    );
  }
  closeSync(file);
}

function valuesOf({ source, dtype, shape }: WeightDescriptor): Float32Array {
  if ("dummy" in source) {
    const values = new Float32Array(elementsOf(shape));
    fillDummy(source.dummy.law, source.dummy.seed, values);
    return values;
  }
  if ("values" in source) return source.values(readPart);
  const [part] = source.parts as [FilePart];
  return fromBits(readPart(part).buffer, dtype);
}

function asBytes(values: Float32Array | Uint16Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}
