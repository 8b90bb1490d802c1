import { join } from "node:path";
import { GgufFile } from "../../src/gguf/gguf-file";
import { loadModelConfig } from "../../src/models/config";
import { openWeights } from "../../src/models/stored-weights";
import { Tokenizer } from "../../src/tokenizer/tokenizer";
import { floatType, ggufOf } from "../helpers/gguf-models";
import type { Target } from "./fuzz";

const golden = join(__dirname, "..", "golden");
const NAME = "model.gguf";

/** A golden model, with a tokenizer of few tokens: changes are to hit more than its merges. */
function modelFile(name: string, type: "F32" | "BF16"): Buffer {
  const writer = ggufOf(join(golden, name), { type: floatType(type) });
  const tokens = ["<s>", ..."abcdefgh", "ab"];
  writer.key("tokenizer.ggml.model", "string", "gpt2").key("tokenizer.ggml.pre", "string", "llama3");
  writer.list("tokenizer.ggml.tokens", "string", tokens).list("tokenizer.ggml.merges", "string", ["a b"]);
  writer.list(
    "tokenizer.ggml.token_type",
    "int32",
    tokens.map((_, id) => (id === 0 ? 3 : 1)),
  );
  return writer.key("tokenizer.ggml.bos_token_id", "uint32", 0).file();
}

function headerEnd(bytes: Buffer): number {
  // The last name of a tensor, with its type and offset after it.
  return Math.min(bytes.length, bytes.lastIndexOf("blk.") + 128);
}

/** Header, metadata as config and tokenizer, and the names and shapes of weights. */
export const ggufTarget: Target = {
  name: "gguf",
  codes: ["ERR_WEIGHTS", "ERR_CONFIG", "ERR_MODEL_UNSUPPORTED", "ERR_TOKENIZER"],
  seeds: () => [new Map([[NAME, modelFile("mamba2", "BF16")]]), new Map([[NAME, modelFile("mamba2_groups", "F32")]])],
  reach: (_, bytes) => headerEnd(bytes),
  run: async (dir, input) => {
    const path = join(dir, NAME);
    const file = GgufFile.open(path);
    for (const key of file.keys()) file.value(key);
    for (const name of file.names()) {
      const { offset, bytes } = file.tensor(name)!;
      if (offset < 0 || offset + bytes > input.get(NAME)!.length)
        throw new Error(`tensor ${name} lies outside its file`);
    }
    loadModelConfig(path);
    openWeights(path).scope().unused();
    await Tokenizer.load(path).close();
    return "read";
  },
};
