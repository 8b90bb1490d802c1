/** Lists that exist more than once, or that mirror the tree: sources, error codes, ops. */
import { posix } from "node:path";
import { errorTable } from "../../src/errors";
import { type Files, ofType, readFiles, withFile } from "./files";

const native = readFiles("native", "CMakeLists.txt", "binding.gyp");
const src = ofType(readFiles("src"), "ts");
const opTests = ofType(readFiles("test/ops"), "ts");

describe("sources.json", () => {
  function problems(files: Files): string[] {
    const listed = new Set(
      Object.values(JSON.parse(files.get("native/sources.json")!) as Record<string, string[]>).flat(),
    );
    const onDisk = new Set(
      [...files.keys()]
        .filter((path) => /^native\/(core|ops|cpu|cuda|addon)\/.*\.(cpp|cu)$/.test(path))
        .map((path) => path.slice("native/".length)),
    );
    const builds = ["CMakeLists.txt", "binding.gyp"];
    return [
      ...[...onDisk].filter((path) => !listed.has(path)).map((path) => `${path} is not listed`),
      ...[...listed].filter((path) => !onDisk.has(path)).map((path) => `${path} is listed and does not exist`),
      ...builds
        .filter((path) => !files.get(path)!.includes("native/sources.json"))
        .map((path) => `${path} reads no list`),
      ...builds.filter((path) => /\/\w+\.cpp/.test(files.get(path)!)).map((path) => `${path} names a source itself`),
    ];
  }

  it("is the one list of sources, and complete", () => {
    expect(problems(native)).toEqual([]);
  });

  it.each([
    ["native/cpu/unlisted.cpp", "", "cpu/unlisted.cpp is not listed"],
    ["native/sources.json", '{ "cpu": ["cpu/gone.cpp"] }', "cpu/gone.cpp is listed and does not exist"],
    ["binding.gyp", '"sources": ["native/core/arena.cpp"]', "binding.gyp names a source itself"],
  ])("fails with a bad %s", (path, text, problem) => {
    expect(problems(withFile(native, path, text))).toContain(problem);
  });
});

describe("error codes", () => {
  const header = native.get("native/core/error.h")!;

  /** [name in C++, code] for each row of MAMBA_ERROR_CODES. */
  const nativeRows = (text: string) =>
    [...text.matchAll(/^\s*X\((\w+), "(ERR_\w+)"\)/gm)].map((match) => [match[1]!, match[2]!] as const);

  function differences(text: string): string[] {
    const rows = nativeRows(text).map(([, code]) => code);
    const table = Object.keys(errorTable);
    return table
      .slice(0, table.indexOf("ERR_INTERNAL") + 1)
      .concat(rows)
      .filter((code, _, all) => all.filter((other) => other === code).length !== 2);
  }

  it("of native/core/error.h are the first rows of src/errors.ts", () => {
    expect(nativeRows(header).length).toBeGreaterThan(5);
    expect(differences(header)).toEqual([]);
  });

  it("differ when one side gets a row", () => {
    expect(differences(`${header}\n  X(Other, "ERR_OTHER")`)).toEqual(["ERR_OTHER"]);
  });

  function unused(table: readonly string[]): string[] {
    const code = [...src].filter(([path]) => path !== "src/errors.ts").map(([, text]) => text);
    const cpp = [...native].map(([, text]) => text);
    const nativeName = new Map(nativeRows(header).map(([name, errorCode]) => [errorCode, name]));
    return table.filter(
      (errorCode) =>
        !code.some((text) => text.includes(`"${errorCode}"`)) &&
        !cpp.some((text) => new RegExp(`ErrorCode::${nativeName.get(errorCode)}\\b`).test(text)),
    );
  }

  it("are all thrown or handled somewhere", () => {
    expect(unused(Object.keys(errorTable))).toEqual([]);
  });

  it("are found when nobody uses them", () => {
    expect(unused(["ERR_NEVER"])).toEqual(["ERR_NEVER"]);
  });
});

describe("an op", () => {
  interface Row {
    readonly op: string;
    readonly params: string;
  }
  const rowsOf = (opsDef: string): Row[] =>
    [...opsDef.matchAll(/^OP\((\w+), (\w+),/gm)].map((match) => ({ op: match[1]!, params: match[2]! }));
  const camelCase = (name: string) => name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
  const anyMatches = (files: Files, path: RegExp, pattern: RegExp) =>
    [...files].some(([name, text]) => path.test(name) && pattern.test(text));

  /** As native/README.md lists them: where an op is written by hand, and how to find it there. */
  const places: Readonly<Record<string, (files: Files, row: Row) => boolean>> = {
    "ops/ops.def": (files, { op }) => anyMatches(files, /^native\/ops\/ops\.def$/, new RegExp(`^OP\\(${op},`, "m")),
    "ops/<family>.h": (files, { params }) =>
      anyMatches(files, /^native\/ops\/\w+\.h$/, new RegExp(`^struct ${params} (: \\w+ )?\\{`, "m")),
    "ops/<family>.cpp": (files, { op }) =>
      anyMatches(files, /^native\/ops\/\w+\.cpp$/, new RegExp(`^void ${op}\\(Stream& `, "m")),
    "cpu/<family>.cpp": (files, { op }) =>
      anyMatches(files, /^native\/cpu\/\w+\.cpp$/, new RegExp(`^void run_${op}\\(`, "m")),
    "cuda/<family>.cu": (files, { op }) =>
      anyMatches(files, /^native\/cuda\/\w+\.cu$/, new RegExp(`^void run_${op}\\(`, "m")),
    "test/ops/<op>.test.ts": (files, { op }) =>
      anyMatches(files, /^test\/ops\/cases\/valid-calls\.ts$/, new RegExp(`\\bop: "${op}"`)) &&
      anyMatches(files, /^test\/ops\/(?!cases\/valid-calls)/, new RegExp(`\\b${camelCase(op)}\\b`)),
  };

  const files: Files = new Map([...native, ...src, ...opTests]);
  const opsDef = native.get("native/ops/ops.def")!;

  const missing = (found: Files, row: Row) =>
    Object.entries(places).flatMap(([place, holds]) => (holds(found, row) ? [] : [`${row.op} is not in ${place}`]));

  it("is in each of its places", () => {
    expect(rowsOf(opsDef).length).toBeGreaterThan(10);
    expect(rowsOf(opsDef).flatMap((row) => missing(files, row))).toEqual([]);
  });

  it.each([
    ["native/ops/norm.h", "ops/<family>.h"],
    ["native/ops/norm.cpp", "ops/<family>.cpp"],
    ["native/cpu/norm.cpp", "cpu/<family>.cpp"],
    ["native/cuda/norm.cu", "cuda/<family>.cu"],
    ["test/ops/cases/valid-calls.ts", "test/ops/<op>.test.ts"],
  ])("is missed where %s has nothing of it", (path, place) => {
    const row = { op: "gated_rms_norm", params: "GatedRmsNormParams" };
    expect(missing(withFile(files, path, ""), row)).toEqual([`gated_rms_norm is not in ${place}`]);
  });

  /** Places of the list in native/README.md, and how many its heading says. */
  function listed(readme: string): { count: string; places: string[] } {
    const [, count, list] = readme.match(/^## An op in (\w+) places\n([\s\S]*?)^## /m) ?? [];
    return { count: count!, places: [...list!.matchAll(/^\d\. `([^`]+)`/gm)].map((match) => match[1]!) };
  }

  it("has the places that native/README.md lists", () => {
    expect(listed(native.get("native/README.md")!)).toEqual({ count: "six", places: Object.keys(places) });
  });

  /** Ops that code names which should take them from ops.def: the binding and the backends. */
  const namedByHand = (found: Files) =>
    [...found]
      .filter(([path]) =>
        /^native\/(addon\/|\w+\/backend\.|cuda\/kernels\.h)|^src\/native\/(?!op-(abi|rows))/.test(path),
      )
      .flatMap(([path, text]) =>
        rowsOf(opsDef)
          .filter(({ op }) => new RegExp(`\\b(run_)?(${op}|${camelCase(op)})\\(`).test(text))
          .map(({ op }) => `${path} names ${op}`),
      );

  it("has no further place", () => {
    expect(namedByHand(files)).toEqual([]);
  });

  it.each([
    ["native/addon/ops.cpp", "void bind() { add(rms_norm()); }"],
    ["native/cuda/kernels.h", "void run_rms_norm(const RmsNormParams& params, Context& context);"],
    ["src/native/abi.ts", "rmsNorm(device: DeviceHandle): void;"],
  ])("is found where %s names it", (path, text) => {
    expect(namedByHand(withFile(files, path, text))).toEqual([`${path} names rms_norm`]);
  });
});

describe("places of a new field, stage or kind of cache (src/README.md)", () => {
  const isCache = (path: string) => /^src\/layers\/[\w]+-cache\.ts$/.test(path);
  /** Folder, which of its files are meant, and which files of src/ may name what those export, besides the folder's own. */
  const kinds: readonly (readonly [folder: string, belongs: (path: string) => boolean, users: RegExp])[] = [
    [
      "src/step/fields/",
      () => true,
      /^src\/(layers|models|bench)\/|^src\/engine\/(step-launcher|draft-passes|draw\/[\w-]+)\.ts$/,
    ],
    [
      "src/engine/draw/",
      () => true,
      /^src\/engine\/(draw\/stages|model-runner|engine|token-logprobs|prepare-runner|step-launcher)\.ts$/,
    ],
    ["src/layers/", isCache, /^src\/(layers|models)\//],
  ];

  const imports = (path: string, text: string) =>
    [...text.matchAll(/from "(\.[^"]+)"/g)].map(([, specifier]) => `${posix.join(posix.dirname(path), specifier!)}.ts`);

  function strangers(files: Files): string[] {
    return kinds.flatMap(([folder, belongs, users]) =>
      [...files]
        .filter(([path]) => !path.startsWith(folder) && !users.test(path))
        .flatMap(([path, text]) =>
          imports(path, text)
            .filter((target) => target.startsWith(folder) && belongs(target))
            .map((target) => `${path} names ${target}`),
        ),
    );
  }

  const unlisted = (files: Files) =>
    [...files]
      .filter(
        ([path, text]) =>
          path.startsWith("src/engine/draw/") &&
          /\bat(?:: DrawStage\["at"\])? ?[=:] "(hidden|logits|tokens)"/.test(text),
      )
      .map(([path]) => path.slice("src/engine/draw/".length, -".ts".length))
      .filter((name) => !files.get("src/engine/draw/stages.ts")!.includes(`"./${name}"`));

  it("are the only ones that name it", () => {
    expect(strangers(src)).toEqual([]);
    expect(unlisted(src)).toEqual([]);
  });

  it.each([
    [
      "a field in the scheduler",
      "src/engine/policy/scheduler.ts",
      'import { chunks } from "../../step/fields/chunks";',
    ],
    ["a stage in the scheduler", "src/engine/policy/scheduler.ts", 'import { bias } from "../draw/bias";'],
    ["a cache in the engine", "src/engine/engine.ts", 'import { slotCache } from "../layers/slot-cache";'],
  ])("fail with %s", (_, path, text) => {
    expect(strangers(withFile(src, path, text))).toEqual([expect.stringContaining(path)]);
  });

  it("fail with a stage that has no turn", () => {
    expect(unlisted(withFile(src, "src/engine/draw/lost.ts", 'export const lost = { at: "logits" };'))).toEqual([
      "lost",
    ]);
  });
});

describe("places of a new model (src/README.md)", () => {
  /** model_type of each model, which the reader's table has as keys. */
  const typesOf = (files: Files) =>
    [
      ...files
        .get("src/models/config.ts")!
        .match(/readers[^{]*\{([^}]*)\}/)![1]!
        .matchAll(/^\s*(\w+):/gm),
    ].map((match) => match[1]!);
  const isPlace = (path: string) => path.startsWith("src/models/");
  /** What others take of models/: the tables, and what all models are. */
  const shared =
    /^src\/models\/(config|registry|model|decoder|drafter|stored-weights)\.ts$|^src\/models\/config\/(geometry|huggingface|language-model|json-file|generation)\.ts$/;

  const strangers = (files: Files) =>
    [...files]
      .filter(([path]) => !isPlace(path))
      .flatMap(([path, text]) => [
        ...typesOf(files)
          .filter((type) => text.includes(`"${type}"`))
          .map((type) => `${path} names ${type}`),
        ...[...text.matchAll(/from "(\.[^"]+)"/g)]
          .map(([, specifier]) => `${posix.join(posix.dirname(path), specifier!)}.ts`)
          .filter((target) => isPlace(target) && !shared.test(target))
          .map((target) => `${path} takes ${target}`),
      ]);

  it("are the only ones that name it", () => {
    expect(typesOf(src).length).toBeGreaterThan(8);
    expect(strangers(src)).toEqual([]);
  });

  it.each([
    ["names zamba2", 'if (config.modelType === "zamba2") return;'],
    ["takes src/models/zamba2.ts", 'import { loadZamba2 } from "../models/zamba2";'],
    ["takes src/models/config/zamba2.ts", 'import { readZamba2 } from "../models/config/zamba2";'],
  ])("fail where the engine %s", (problem, text) => {
    expect(strangers(withFile(src, "src/engine/engine.ts", text))).toEqual([`src/engine/engine.ts ${problem}`]);
  });
});
