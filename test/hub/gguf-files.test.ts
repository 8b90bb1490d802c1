/** Which files of a repository in GGUF are meant, and that they are found where they were downloaded to. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ModelCache } from "../../src/hub/cache";
import { ggufFiles, ggufNames } from "../../src/hub/gguf-files";
import { Hub } from "../../src/hub/hub";
import { pull } from "../../src/hub/pull";
import { COMMIT, LoopbackHub } from "../helpers/loopback-hub";

const paths = [
  ...[
    "README.md",
    "mmproj-f16.gguf",
    "m-1.5-Q4_K_M.gguf",
    "m-1.5-Q4_K_S.gguf",
    "m-1.5-UD-Q6_K.gguf",
    "m-1.5-Q6_K.gguf",
  ],
  ...[
    "m-1.5-BF16-00002-of-00002.gguf",
    "m-1.5-BF16-00001-of-00002.gguf",
    "m-1.5-F32-00001-of-00003.gguf",
    "m.Q8_0.gguf",
  ],
];

test("names of models, each once", () => {
  expect(ggufNames(paths)).toEqual(
    ["m-1.5-BF16", "m-1.5-F32", "m-1.5-Q4_K_M", "m-1.5-Q4_K_S", "m-1.5-Q6_K", "m-1.5-UD-Q6_K", "m.Q8_0"].sort(),
  );
});

test.each<[string, string, readonly string[]]>([
  ["a quantization", "Q4_K_M", ["m-1.5-Q4_K_M.gguf"]],
  ["in small letters", "q4_k_m", ["m-1.5-Q4_K_M.gguf"]],
  ["behind a dot", "Q8_0", ["m.Q8_0.gguf"]],
  ["a part of one", "Q4_K", []],
  ["of two models", "Q6_K", []],
  ["that tells more", "UD-Q6_K", ["m-1.5-UD-Q6_K.gguf"]],
  ["a whole name", "m-1.5-Q6_K", ["m-1.5-Q6_K.gguf"]],
  ["of a model of several parts", "BF16", ["m-1.5-BF16-00001-of-00002.gguf", "m-1.5-BF16-00002-of-00002.gguf"]],
  ["of a model with a part missing", "F32", []],
  ["that no model has", "IQ1_S", []],
])("%s", (_, tag, expected) => {
  expect(ggufFiles(paths, tag)).toEqual(expected);
});

test("a whole name that others begin with", () => {
  expect(ggufFiles(["m.gguf", "m-Q4_0.gguf"], "m")).toEqual(["m.gguf"]);
});

describe("a repository", () => {
  let folder: string;
  let hub: LoopbackHub;
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), "hub-gguf-"));
    hub = await LoopbackHub.start("org/name", Object.fromEntries(paths.map((path) => [path, `the file ${path}`])));
  });
  afterEach(async () => {
    await hub.close();
    rmSync(folder, { recursive: true });
  });
  const run = (gguf?: string) => {
    const model = { name: "org/name", revision: "main", ...(gguf === undefined ? {} : { gguf }) };
    const found = () => new ModelCache(model, folder).find();
    return { found, pulled: () => pull(model, { hub: new Hub(hub.url, null), cacheFolder: folder }) };
  };

  test("gives the one that was asked for, and then another beside it", async () => {
    const snapshot = join(folder, "models--org--name", "snapshots", COMMIT);
    const [small, large] = [run("Q4_K_M"), run("BF16")];
    expect([small.found(), large.found()]).toEqual([null, null]);
    expect(await small.pulled()).toMatchObject({ dir: snapshot, path: join(snapshot, "m-1.5-Q4_K_M.gguf"), files: 1 });
    expect([small.found(), large.found()]).toEqual([join(snapshot, "m-1.5-Q4_K_M.gguf"), null]);
    expect(await large.pulled()).toMatchObject({ path: join(snapshot, "m-1.5-BF16-00001-of-00002.gguf"), files: 2 });
    expect(large.found()).toBe(join(snapshot, "m-1.5-BF16-00001-of-00002.gguf"));
    expect(hub.requests.map(({ path }) => path).sort()).toEqual(
      ["m-1.5-Q4_K_M.gguf", "m-1.5-BF16-00001-of-00002.gguf", "m-1.5-BF16-00002-of-00002.gguf"].sort(),
    );
  });

  test.each([
    [undefined, "org/name (main) has no config.json: give one of its files in GGUF, as org/name:m-1.5-BF16 or"],
    ["Q6_K", "has not one file in GGUF for Q6_K: give one of its files in GGUF"],
  ])("asked for %s says what there is", async (tag, fragment) => {
    await expect(run(tag).pulled()).rejects.toMatchObject({
      code: "ERR_MODEL_NOT_FOUND",
      message: expect.stringContaining(fragment),
    });
    expect(hub.requests).toEqual([]);
  });
});
