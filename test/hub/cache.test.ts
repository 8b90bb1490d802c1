import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { cacheFolder, ModelCache, parseHubModel } from "../../src/hub/cache";

const commit = "0123456789abcdef0123456789abcdef01234567";

test.each([
  ["org/name", { name: "org/name", revision: "main" }],
  ["org/name@v1.0", { name: "org/name", revision: "v1.0" }],
  ["org/name@refs/pr/3", { name: "org/name", revision: "refs/pr/3" }],
  ["ibm-granite/granite-4.0-h-tiny", { name: "ibm-granite/granite-4.0-h-tiny", revision: "main" }],
  ["org/name:Q4_K_M", { name: "org/name", revision: "main", gguf: "Q4_K_M" }],
  ["org/name@v1:Q8_0", { name: "org/name", revision: "v1", gguf: "Q8_0" }],
  ["org/name:", null],
  ["org/name:a/b", null],
  ["org/name:..", null],
  ["storyteller-6m", null],
  ["./org/name", null],
  ["/org/name", null],
  ["../name", null],
  ["org/..", null],
  ["org/name/more", null],
  ["org/name@", null],
  ["org/name@../../x", null],
  ["org/name@/x", null],
  ["org/na me", null],
  ["", null],
])("%s", (text, model) => {
  expect(parseHubModel(text)).toEqual(model);
});

test.each([
  [{}, /\.cache\/huggingface\/hub$/],
  [{ XDG_CACHE_HOME: "/x" }, /^\/x\/huggingface\/hub$/],
  [{ XDG_CACHE_HOME: "/x", HF_HOME: "/h" }, /^\/h\/hub$/],
  [{ HF_HOME: "/h", HF_HUB_CACHE: "/c" }, /^\/c$/],
  [{ HF_HOME: "~/h" }, new RegExp(`^${homedir()}/h/hub$`)],
  [{ HF_HOME: "$DATA/h", DATA: "/d" }, /^\/d\/h\/hub$/],
  [{ HF_HUB_CACHE: ["$", "{DATA}/c/$NONE"].join(""), DATA: "/d" }, /^\/d\/c\/\$NONE$/],
])("the cache's folder with %j", (env, folder) => {
  expect(cacheFolder(env)).toMatch(folder);
});

test("a model is found by a revision that has a commit, or by the commit, once its config is there", () => {
  const folder = mkdtempSync(join(tmpdir(), "hub-cache-"));
  try {
    const find = (revision: string) => new ModelCache({ name: "org/name", revision }, folder).find();
    const dir = join(folder, "models--org--name");
    const snapshot = join(dir, "snapshots", commit);
    mkdirSync(snapshot, { recursive: true });
    mkdirSync(join(dir, "refs"));
    expect(find("main")).toBeNull();
    writeFileSync(join(dir, "refs", "main"), `${commit}\n`);
    expect(find("main")).toBeNull();
    writeFileSync(join(snapshot, "config.json"), "{}");
    expect([find("main"), find(commit), find("v1")]).toEqual([snapshot, snapshot, null]);
    writeFileSync(join(dir, "refs", "main"), "../../elsewhere");
    expect(find("main")).toBeNull();
  } finally {
    rmSync(folder, { recursive: true });
  }
});
