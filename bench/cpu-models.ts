import { join } from "node:path";
import type { QuantizeName } from "../src/engine/policy/config";
import type { GgufFormat } from "./peers/llama-cpp/to-gguf";

const root = join(__dirname, "..");
export const bundledModel = join(root, "models", "storyteller-6m");

/** A form of a model's weights that is measured. */
export interface BenchFormat {
  readonly name: string;
  /** What ours makes of the checkpoint; null: it runs the file that llama.cpp runs. */
  readonly quantize: Extract<QuantizeName, "none" | "int8" | "int4"> | null;
  /** The file that llama.cpp runs, if it has such a form. */
  readonly gguf: GgufFormat | null;
  readonly wanted: Wanted;
}

/** Least ratios; what is not named is shown and not judged. */
export interface Wanted {
  /** Decode to llama.cpp's. */
  readonly decode?: number;
  /** Prefill to llama.cpp's. */
  readonly prefill?: number;
  /** Decode to ours in bf16. */
  readonly speedup?: number;
  /** Matrix products of a prefill to oneDNN's rate. */
  readonly oneDnnShare?: number;
}

export interface BenchModel {
  readonly name: string;
  readonly dir: string;
  readonly dummy: boolean;
  /** Names of its shapes in the lab program. */
  readonly shapes: string;
  readonly formats: readonly BenchFormat[];
}

const bf16 = (wanted: Wanted): BenchFormat => ({ name: "bf16", quantize: "none", gguf: "BF16", wanted });
const quantized = (name: "int8" | "int4", speedup: number): BenchFormat => ({
  name,
  quantize: name,
  gguf: null,
  wanted: { speedup },
});
const file = (name: GgufFormat): BenchFormat => ({
  name,
  quantize: null,
  gguf: name,
  wanted: { decode: 1.5, prefill: 2 },
});

export const models: readonly BenchModel[] = [
  {
    name: "storyteller-6m",
    dir: bundledModel,
    dummy: false,
    shapes: "bundled",
    // oneDNN's rate for such small matrices says little.
    formats: [bf16({ decode: 2, prefill: 2 })],
  },
  {
    name: "mamba2-130m",
    dir: join(root, "bench", "models", "mamba2-130m"),
    dummy: true,
    shapes: "130m",
    formats: [
      bf16({ decode: 1.5, prefill: 2, oneDnnShare: 0.5 }),
      quantized("int8", 1.7),
      quantized("int4", 2.5),
      file("Q8_0"),
      file("Q4_K_S"),
    ],
  },
];
