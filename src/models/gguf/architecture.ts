import type { GgufWeight } from "../../weights/gguf/weight";
import type { Fields, ModelFile } from "./model-file";

/** How GGUF files of an architecture of llama.cpp stand for a model here: the inverse of what its converter does. */
export interface GgufArchitecture {
  readonly modelType: string;
  /** config.json of the checkpoint that the file was made of, as far as the file has it; what all have is added. */
  config(model: ModelFile): Fields;
  /** Its tensors by the checkpoint's names. */
  weights(model: ModelFile): readonly GgufWeight[];
}
