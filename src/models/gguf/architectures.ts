import { EngineError } from "../../errors";
import type { GgufFile } from "../../gguf/gguf-file";
import { WeightScope } from "../../weights/scope";
import { ConfigFile } from "../config/json-file";
import type { GgufArchitecture } from "./architecture";
import { falconH1 } from "./falcon-h1";
import { graniteOf } from "./granite";
import { mamba2 } from "./mamba2";
import { type Field, type Fields, ModelFile } from "./model-file";
import { nemotronH } from "./nemotron-h";
import { qwen3Next, qwen35, qwen35Moe } from "./qwen-hybrid";

/** By general.architecture; a function where that is no more than a family's name. */
const architectures: Readonly<Record<string, GgufArchitecture | ((model: ModelFile) => GgufArchitecture)>> = {
  mamba2,
  granite: graniteOf,
  granitemoe: graniteOf,
  granitehybrid: graniteOf,
  nemotron_h: nemotronH,
  nemotron_h_moe: nemotronH,
  "falcon-h1": falconH1,
  qwen3next: qwen3Next,
  qwen35,
  qwen35moe: qwen35Moe,
};

/** Values of general.architecture that are read. */
export const knownArchitectures: readonly string[] = Object.keys(architectures);

/** Throws ERR_MODEL_UNSUPPORTED. */
function architectureOf(file: GgufFile): { model: ModelFile; architecture: GgufArchitecture } {
  const name = file.text("general.architecture");
  const known = name !== undefined && Object.hasOwn(architectures, name) ? architectures[name] : undefined;
  if (name !== undefined && known !== undefined) {
    const model = new ModelFile(file, name);
    return { model, architecture: typeof known === "function" ? known(model) : known };
  }
  const expected = `one of ${knownArchitectures.join(", ")}`;
  const got = name === undefined ? "nothing" : JSON.stringify(name.slice(0, 60));
  const message = `${file.path}: general.architecture: expected ${expected}, got ${got}; docs/models.md lists what runs`;
  throw new EngineError("ERR_MODEL_UNSUPPORTED", message, { subject: "general.architecture" });
}

/** What a file says of its model, as the config.json of Hugging Face; errors name the file's own keys. */
export function ggufConfig(file: GgufFile): ConfigFile {
  const { model, architecture } = architectureOf(file);
  const fields: Fields = { ...commonFields(model), ...architecture.config(model) };
  const present = Object.entries(fields).filter(([, { value }]) => value !== undefined);
  const value = Object.fromEntries(present.map(([name, field]) => [name, field.value]));
  return ConfigFile.of(file.path, { ...value, model_type: architecture.modelType }, (name) => {
    const [first = "", ...rest] = name.split(".");
    return [fields[first]?.key ?? first, ...rest].join(".");
  });
}

/** The weights of a file, by the names of the same checkpoint. */
export function ggufWeights(file: GgufFile): WeightScope {
  const { model, architecture } = architectureOf(file);
  return WeightScope.ofGguf(file, architecture.weights(model));
}

const endTokens = ["eos", "eot", "eom"] as const;

function commonFields(model: ModelFile): Fields {
  const { file } = model;
  const token = (name: string): Field => {
    const key = `tokenizer.ggml.${name}_token_id`;
    return { value: file.value(key), key };
  };
  const ends = endTokens.flatMap((name) => token(name).value ?? []);
  return {
    vocab_size: model.rows("token_embd.weight"),
    hidden_size: model.field("embedding_length"),
    tie_word_embeddings: model.of("output.weight", !model.has("output.weight")),
    dtype: { value: storedDtype(file), key: "tensors" },
    bos_token_id: token("bos"),
    eos_token_id: { value: ends.length === 0 ? undefined : ends, key: token("eos").key },
    pad_token_id: token("padding"),
  };
}

const dtypes: Readonly<Record<string, string>> = { F32: "float32", F16: "float16", BF16: "bfloat16" };

/** The type of most matrices' elements, where that is one of floats: beside codes, activations have the usual one. */
function storedDtype(file: GgufFile): string | undefined {
  const elements = new Map<string, number>();
  for (const name of file.names()) {
    const { type, shape } = file.tensor(name)!;
    if (shape.length < 2) continue;
    const count = shape.reduce((product, size) => product * size, 1);
    elements.set(type.name, (elements.get(type.name) ?? 0) + count);
  }
  const [most] = [...elements].sort(([, a], [, b]) => b - a);
  return most === undefined ? undefined : dtypes[most[0]];
}
