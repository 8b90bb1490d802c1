import { existsSync, statSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { resolveDtypes } from "../engine/policy/config";
import { EngineError } from "../errors";
import { modelPath } from "../llm/bundled-model";
import { loadModelConfig, type ModelConfig } from "../models/config";
import { hostStateBytes, planModel } from "../models/registry";
import { openWeights, type StoredWeights } from "../models/stored-weights";
import { Tokenizer } from "../tokenizer/tokenizer";

/** A part of a model directory that cannot be used. */
export interface Unreadable {
  readonly error: string;
}

export interface WeightFacts {
  readonly parameters: number;
  /** Parameters by the element type they are stored in, the most first. */
  readonly dtypes: Readonly<Record<string, number>>;
  readonly bytes: number;
}

export interface TokenizerFacts {
  /** Highest id plus one. */
  readonly vocabSize: number;
  readonly chatTemplate: boolean;
  readonly eosTokens: readonly { readonly id: number; readonly token: string | null }[];
}

/** What a model directory, or a file in GGUF, says about the model, without loading weights. */
export interface ModelFacts {
  readonly id: string;
  readonly path: string;
  readonly config: ModelConfig;
  readonly weights: WeightFacts | Unreadable;
  readonly tokenizer: TokenizerFacts | Unreadable;
  /** Parameters by the config alone, and how many of them a token uses: fewer where a router chooses among experts. */
  readonly parameters: number;
  readonly activeParameters: number;
  /** State of one sequence in bytes, by --state-dtype. */
  readonly stateBytes: { readonly float32: number; readonly bfloat16: number };
  /** Bytes of a float32 state that the prefix cache keeps in host memory. */
  readonly hostStateBytes: { readonly auto: number; readonly int8: number };
  /** Keys and values of each token of a sequence; 0 without attention. */
  readonly kvBytesPerToken: number;
  readonly files: readonly { readonly name: string; readonly bytes: number }[];
}

const smallFiles = [
  "config.json",
  "generation_config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "chat_template.jinja",
];

/**
 * Only a config.json is needed: what else is missing or broken is said in its place.
 *
 * @throws EngineError ERR_MODEL_NOT_FOUND, ERR_CONFIG, ERR_MODEL_UNSUPPORTED
 */
export async function readModelFacts(model: string): Promise<ModelFacts> {
  const dir = modelPath(model);
  const config = loadModelConfig(dir);
  const checkpoint = readable(() => openWeights(dir));
  const weightFiles = "error" in checkpoint ? [] : [...checkpoint.files].map(([file, { bytes }]) => ({ file, bytes }));
  const plan = (stateDtype: "float32" | "bfloat16") => {
    const { compute, state } = resolveDtypes({ stateDtype }, config);
    return planModel(config, compute, state);
  };
  const [wide, narrow] = [await plan("float32"), await plan("bfloat16")];
  const present = smallFiles.filter((name) => existsSync(join(dir, name)));
  return {
    id: basename(resolve(dir), ".gguf"),
    path: resolve(dir),
    config,
    weights: "error" in checkpoint ? checkpoint : weightFacts(checkpoint, config),
    tokenizer: await tokenizerFacts(dir, config),
    parameters: wide.parameters,
    activeParameters: wide.activeParameters,
    stateBytes: { float32: wide.stateBytes, bfloat16: narrow.stateBytes },
    hostStateBytes: { auto: hostStateBytes(wide.model, "auto"), int8: hostStateBytes(wide.model, "int8") },
    kvBytesPerToken: wide.kvBytesPerToken,
    files: [
      ...present.map((name) => ({ name, bytes: statSync(join(dir, name)).size })),
      ...weightFiles.map(({ file, bytes }) => ({ name: basename(file), bytes })),
    ],
  };
}

function readable<T>(read: () => T): T | Unreadable {
  try {
    return read();
  } catch (error) {
    if (EngineError.is(error)) return { error: error.message };
    throw error;
  }
}

function weightFacts(checkpoint: StoredWeights, config: ModelConfig): WeightFacts {
  const dtypes = new Map<string, number>();
  let parameters = 0;
  for (const name of checkpoint.names()) {
    // Some checkpoints store tied embeddings twice.
    if (config.tieWordEmbeddings && name.endsWith("lm_head.weight")) continue;
    const { dtype, shape } = checkpoint.entry(name);
    const elements = shape.reduce((product, size) => product * size, 1);
    parameters += elements;
    dtypes.set(dtype, (dtypes.get(dtype) ?? 0) + elements);
  }
  const sorted = [...dtypes].sort(([, a], [, b]) => b - a);
  return { parameters, dtypes: Object.fromEntries(sorted), bytes: checkpoint.totalBytes };
}

async function tokenizerFacts(dir: string, config: ModelConfig): Promise<TokenizerFacts | Unreadable> {
  const tokenizer = readable(() => Tokenizer.load(dir));
  if ("error" in tokenizer) return tokenizer;
  const ids = new Set([...config.eosTokenIds, ...tokenizer.eosTokenIds]);
  const facts = {
    vocabSize: tokenizer.vocabSize,
    chatTemplate: tokenizer.chatTemplate !== null,
    eosTokens: [...ids].map((id) => ({ id, token: tokenizer.token(id) ?? null })),
  };
  await tokenizer.close();
  return facts;
}
