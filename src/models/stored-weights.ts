import { GgufFile, isGguf } from "../gguf/gguf-file";
import { Checkpoint } from "../weights/checkpoint";
import { WeightScope } from "../weights/scope";
import { readQuantization } from "./config/quantization";
import { readStoredCodes } from "./config/stored-codes";
import { ggufWeights } from "./gguf/architectures";

/** The weights of a model on a disk, of which only headers have been read. */
export interface StoredWeights {
  /** Their tensors by the model's names. */
  scope(): WeightScope;
  /** The files' own names. */
  names(): readonly string[];
  /** Type and shape of a tensor as it is stored. */
  entry(name: string): { readonly dtype: string; readonly shape: readonly number[] };
  readonly files: ReadonlyMap<string, { readonly bytes: number }>;
  readonly totalBytes: number;
}

/** Opens the weights of a model directory, or of a file in GGUF. Throws ERR_WEIGHTS, and for a directory's codes ERR_CONFIG. */
export function openWeights(path: string): StoredWeights {
  if (isGguf(path)) {
    const file = GgufFile.open(path);
    return {
      scope: () => ggufWeights(file),
      names: () => file.names(),
      entry: (name) => {
        const { type, shape } = file.tensor(name)!;
        return { dtype: type.name, shape };
      },
      files: file.files,
      totalBytes: file.totalBytes,
    };
  }
  const checkpoint = Checkpoint.open(path);
  return {
    scope: () => WeightScope.ofCheckpoint(checkpoint, readQuantization(path)),
    names: () => checkpoint.names(),
    entry: (name) => checkpoint.entry(name),
    files: checkpoint.files,
    totalBytes: checkpoint.totalBytes,
  };
}

/**
 * Random weights as the model directory's checkpoint would have them, codes where its config says so. Of a file in GGUF they are
 * floats. Throws ERR_CONFIG, and ERR_MODEL_UNSUPPORTED for codes that are not read.
 */
export function dummyWeights(path: string): WeightScope {
  return WeightScope.ofDummy(isGguf(path) ? {} : { codesOf: readStoredCodes(path) });
}
