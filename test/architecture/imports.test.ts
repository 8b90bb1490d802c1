import { type Files, ofType, readFiles, withFile } from "./files";
import { importCycles, nativeLayers, typescriptLayers, wrongImports } from "./layers";

const src = ofType(readFiles("src"), "ts");
const native = ofType(readFiles("native"), "h", "cpp", "inl", "def", "cu", "cuh");

describe("imports of src/", () => {
  const wrong = (files: Files) => wrongImports(files, typescriptLayers);

  it("point down", () => {
    expect(wrong(src)).toEqual([]);
  });

  it.each([
    ["a tensor in the policy", "src/engine/policy/scheduler.ts", 'import type { Tensor } from "../../tensor/tensor";'],
    ["the engine in a model", "src/models/mamba2.ts", 'export * from "../engine/engine";'],
    ["the loaded model in the server", "src/server/app.ts", 'import { LLM } from "../llm/llm";'],
    ["an import over several lines", "src/tokenizer/tokenizer.ts", 'import {\n  LLM,\n} from "../llm/llm";'],
    ["an import at run time", "src/errors.ts", 'await import("./native/load");'],
    ["a package outside its folder", "src/engine/engine.ts", 'import fastify from "fastify";'],
    ["a file that is not there", "src/ops/norm.ts", 'import { x } from "../tensor/none";'],
    ["a folder without a layer", "src/extra/a.ts", ""],
  ])("refuse %s", (_, path, text) => {
    expect(wrong(withFile(src, path, text))).toEqual([expect.stringContaining(path)]);
  });
});

describe("run-time imports", () => {
  it("make no loops", () => {
    expect(importCycles(src)).toEqual([]);
  });

  it("are found where they do", () => {
    const loop = withFile(src, "src/errors.ts", 'import { addon } from "./native/load";');
    expect(importCycles(loop)).toContainEqual(expect.stringContaining("src/errors.ts -> src/native/load.ts"));
  });
});

describe("includes of native/", () => {
  const wrong = (files: Files) => wrongImports(files, nativeLayers);

  it("point down", () => {
    expect(wrong(native)).toEqual([]);
  });

  it.each([
    ["N-API outside the addon", "native/ops/norm.cpp", "#include <napi.h>"],
    ["an op in the core", "native/core/arena.cpp", '#include "ops/backend.h"'],
    ["a kernel in the addon", "native/addon/ops.cpp", '#include "cpu/norm.h"'],
    ["CUDA outside its backend", "native/cpu/norm.cpp", "#include <cuda_runtime.h>"],
  ])("refuse %s", (_, path, text) => {
    expect(wrong(withFile(native, path, text))).toEqual([expect.stringContaining(path)]);
  });
});

/** simd/README.md says why: such a function, compiled for AVX-512, may be the one the linker keeps for all machines. */
function headersWithInlineCode(files: Files): string[] {
  return [...files].flatMap(([path, text]) =>
    [...text.matchAll(/^#include <([^>]+)>/gm)]
      .map((match) => match[1]!)
      .filter((header) => !["arm_neon.h", "immintrin.h", "stdint.h", "stddef.h"].includes(header))
      .map((header) => `${path} includes <${header}>`),
  );
}

describe("kernels compiled for several instruction sets", () => {
  const kernels = new Map([...native].filter(([path]) => /^native\/cpu\/(simd\/|.*\.inl$|kernels_)/.test(path)));

  it("include nothing that defines inline functions", () => {
    expect(kernels.size).toBeGreaterThan(8);
    expect(headersWithInlineCode(kernels)).toEqual([]);
  });

  it("would be refused with <cmath>", () => {
    expect(headersWithInlineCode(withFile(kernels, "native/cpu/ssd.inl", "#include <cmath>"))).toHaveLength(1);
  });
});
