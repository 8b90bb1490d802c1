/** Who may import whom, for src/ and native/. src/README.md and native/README.md show the same for people. */
import { posix } from "node:path";
import type { Files } from "./files";

export interface Layer {
  readonly name: string;
  /** The files of this layer; the first layer that matches a path owns it. */
  readonly files: RegExp;
  /** Names of layers, or paths of single files without their extension. A layer may import itself. */
  readonly imports: readonly string[];
  /** npm packages, or headers in angle brackets for C++; each has one home. */
  readonly packages?: readonly string[];
}

/** From the bottom up. `policy` decides what the engine does and touches no tensor. */
export const typescriptLayers: readonly Layer[] = [
  { name: "errors", files: /^src\/errors\.ts$/, imports: [] },
  { name: "json", files: /^src\/json\//, imports: [] },
  { name: "version", files: /^src\/version\.ts$/, imports: [] },
  { name: "native", files: /^src\/native\//, imports: ["errors"] },
  { name: "tensor", files: /^src\/tensor\//, imports: ["errors", "native"] },
  { name: "ops", files: /^src\/ops\//, imports: ["errors", "native", "tensor"] },
  { name: "weight-file", files: /^src\/weights\/weight-file\.ts$/, imports: ["errors"] },
  { name: "gguf", files: /^src\/gguf\//, imports: ["errors", "weight-file"] },
  { name: "weights", files: /^src\/weights\//, imports: ["errors", "tensor", "ops", "weight-file", "gguf"] },
  {
    name: "grammar",
    files: /^src\/grammar\//,
    imports: ["errors", "json"],
    packages: ["@eslint-community/regexpp", "lru-cache"],
  },
  { name: "policy", files: /^src\/engine\/policy\//, imports: ["errors", "grammar"] },
  { name: "hub", files: /^src\/hub\//, imports: ["errors"], packages: ["@huggingface/hub"] },
  { name: "step", files: /^src\/step\//, imports: ["errors", "policy", "tensor"] },
  { name: "layers", files: /^src\/layers\//, imports: ["errors", "policy", "tensor", "ops", "weights", "step"] },
  {
    name: "models",
    files: /^src\/models\//,
    imports: ["errors", "json", "tensor", "ops", "gguf", "weights", "layers", "step"],
    packages: ["zod"],
  },
  {
    name: "engine",
    files: /^src\/engine\//,
    imports: ["errors", "tensor", "ops", "layers", "models", "grammar", "policy", "step"],
  },
  {
    name: "tokenizer",
    files: /^src\/tokenizer\//,
    imports: ["errors", "json", "gguf"],
    packages: ["tokenizers"],
  },
  {
    name: "llm",
    files: /^src\/llm\//,
    imports: [
      "errors",
      "json",
      "grammar",
      "policy",
      "engine",
      "models",
      "weights",
      "layers",
      "tokenizer",
      "src/hub/cache",
      "src/tensor/device",
      "src/tensor/dtype",
    ],
  },
  {
    name: "supervisor",
    files: /^src\/supervisor\//,
    imports: ["errors", "json", "policy", "src/llm/load-engine", "src/models/config"],
  },
  {
    name: "http",
    files: /^src\/server\/(http\/|context\.ts|options\.ts)/,
    imports: ["errors", "json", "src/llm/types", "src/engine/policy/request", "src/server/openai/tools/formats"],
    packages: [
      ...["fastify", "@fastify/cors", "@fastify/swagger", "fastify-type-provider-zod", "prom-client", "zod"],
      ...["@opentelemetry/api", "@opentelemetry/core", "@opentelemetry/exporter-trace-otlp-http"],
      ...["@opentelemetry/resources", "@opentelemetry/sdk-trace"],
    ],
  },
  {
    name: "openai",
    files: /^src\/server\/openai\//,
    imports: ["errors", "json", "http", "src/llm/types", "src/llm/param-rules", "src/engine/policy/request"],
    packages: ["fastify", "fastify-type-provider-zod", "lru-cache", "zod"],
  },
  {
    name: "anthropic",
    files: /^src\/server\/anthropic\//,
    imports: ["errors", "json", "http", "openai", "src/llm/types", "src/llm/param-rules"],
    packages: ["fastify", "fastify-type-provider-zod", "zod"],
  },
  {
    name: "server",
    files: /^src\/server\//,
    imports: ["errors", "version", "http", "openai", "anthropic", "src/llm/types"],
    packages: ["fastify", "zod"],
  },
  { name: "client", files: /^src\/bench\/serve\//, imports: ["errors"], packages: ["eventsource-parser"] },
  {
    name: "bench",
    files: /^src\/bench\//,
    imports: ["errors", "tensor", "ops", "layers", "models", "weights", "policy", "step", "engine", "llm", "client"],
  },
  {
    name: "cli",
    files: /^src\/cli\//,
    imports: [
      "errors",
      "version",
      "json",
      "policy",
      "models",
      "weights",
      "tokenizer",
      "hub",
      "llm",
      "supervisor",
      "http",
      "openai",
      "server",
      "client",
      "bench",
      "src/tensor/device",
      "src/native/load",
    ],
    packages: ["commander"],
  },
  {
    name: "index",
    files: /^src\/index\.ts$/,
    imports: ["errors", "json", "policy", "llm", "http", "openai", "server", "src/grammar/compile"],
  },
];

const cuda = [
  "cuda.h",
  "cuda_runtime.h",
  "cuda_runtime_api.h",
  "cuda_bf16.h",
  "cuda_fp16.h",
  "cuda_fp8.h",
  "cooperative_groups.h",
];

export const nativeLayers: readonly Layer[] = [
  { name: "core", files: /^native\/core\//, imports: [] },
  { name: "ops", files: /^native\/ops\//, imports: ["core"] },
  { name: "cpu", files: /^native\/cpu\//, imports: ["core", "ops"] },
  {
    name: "cublas",
    files: /^native\/cuda\/gemm_plans\.cpp$/,
    imports: ["core", "cuda"],
    packages: [...cuda, "cublasLt.h"],
  },
  { name: "cuda", files: /^native\/cuda\//, imports: ["core", "ops"], packages: cuda },
  { name: "addon", files: /^native\/addon\//, imports: ["core", "ops", "native/cpu/backend"], packages: ["napi.h"] },
  {
    name: "lab",
    files: /^native\/lab\//,
    imports: ["core", "ops", "cpu", "cuda"],
    packages: [...cuda, "cublasLt.h", "dnnl.hpp"],
  },
];

interface Reference {
  /** A path of the project without its extension, or the name of a package or a header. */
  readonly target: string;
  readonly isPackage: boolean;
}

function typescriptReferences(path: string, text: string): Reference[] {
  const specifiers = text.matchAll(/^(?:import|export)\b[^;"]*?\bfrom "([^"]+)"|\b(?:import|require)\("([^"]+)"\)/gm);
  return [...specifiers].flatMap((match): Reference[] => {
    const specifier = (match[1] ?? match[2])!;
    if (specifier.startsWith("node:")) return [];
    if (!specifier.startsWith(".")) return [{ target: specifier.match(/^(@[^/]+\/)?[^/]+/)![0], isPackage: true }];
    return [{ target: posix.join(posix.dirname(path), specifier).replace(/\.[jt]s$/, ""), isPackage: false }];
  });
}

/** Headers of the standard library and the system have no slash-free `.h` of their own except these. */
const systemHeaders = new Set([
  "arm_neon.h",
  "cpuid.h",
  "dlfcn.h",
  "fcntl.h",
  "immintrin.h",
  "sched.h",
  "stdint.h",
  "sys/mman.h",
  "sys/stat.h",
  "sys/syscall.h",
  "unistd.h",
]);

function nativeReferences(_path: string, text: string): Reference[] {
  return [...text.matchAll(/^\s*#include (?:"([^"]+)"|<([^>]+)>)/gm)].flatMap(([, quoted, angled]): Reference[] => {
    if (quoted !== undefined) return [{ target: `native/${quoted.replace(/\.\w+$/, "")}`, isPackage: false }];
    if (systemHeaders.has(angled!) || !angled!.includes(".")) return [];
    return [{ target: angled!, isPackage: true }];
  });
}

/** Every import that the table does not allow, as a line of text. */
export function wrongImports(files: Files, layers: readonly Layer[]): string[] {
  const layerOf = (path: string) => layers.find((layer) => layer.files.test(path));
  const withoutExtension = new Map([...files.keys()].map((path) => [path.replace(/\.\w+$/, ""), path]));
  const problems: string[] = [];
  for (const [path, text] of files) {
    const layer = layerOf(path);
    if (layer === undefined) {
      problems.push(`${path} belongs to no layer of test/architecture/layers.ts`);
      continue;
    }
    const references = path.endsWith(".ts") ? typescriptReferences(path, text) : nativeReferences(path, text);
    for (const { target, isPackage } of references) {
      if (isPackage) {
        if (!layer.packages?.includes(target)) problems.push(`${path} (${layer.name}) uses ${target}`);
        continue;
      }
      const file = withoutExtension.get(target) ?? withoutExtension.get(`${target}/index`);
      if (file === undefined) {
        problems.push(`${path} imports ${target}, which is not there`);
        continue;
      }
      const owner = layerOf(file);
      const allowed = owner === layer || layer.imports.includes(target) || layer.imports.includes(owner?.name ?? "");
      if (!allowed) problems.push(`${path} (${layer.name}) imports ${file} (${owner?.name ?? "no layer"})`);
    }
  }
  return problems;
}

/** Loops among the imports that exist at run time, each as "a -> b -> a". Types may refer to each other. */
export function importCycles(files: Files): string[] {
  const importsOf = (path: string) =>
    typescriptReferences(path, files.get(path)!.replace(/^(import|export) type [^;]*;/gm, ""))
      .flatMap(({ target }) => [`${target}.ts`, `${target}/index.ts`])
      .filter((target) => files.has(target));
  const cycles: string[] = [];
  const done = new Set<string>();
  const visit = (path: string, trail: readonly string[]) => {
    if (trail.includes(path)) cycles.push([...trail.slice(trail.indexOf(path)), path].join(" -> "));
    if (done.has(path)) return;
    done.add(path);
    for (const target of importsOf(path)) visit(target, [...trail, path]);
  };
  for (const path of files.keys()) visit(path, []);
  return cycles;
}
