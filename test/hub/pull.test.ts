/** Downloads from a hub on loopback that cuts, refuses and lies. */
import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Hub } from "../../src/hub/hub";
import { neededFiles, type PullOptions, pull } from "../../src/hub/pull";
import { transferLimits } from "../../src/hub/transfer";
import { COMMIT, LoopbackHub } from "../helpers/loopback-hub";

const model = { name: "org/name", revision: "main" };
const weights = randomBytes(300_000);
const files = {
  "config.json": '{"model_type": "mamba2"}',
  "tokenizer.json": "{}",
  "README.md": "# not needed",
  "model.safetensors": weights,
  "pytorch_model.bin": Buffer.from("the same again"),
};
/** Four parts and a rest. */
const limits = { ...transferLimits, partBytes: 70_000, connections: 3, attempts: 3, firstDelayMs: 1, stallMs: 1000 };

let folder: string;
let hub: LoopbackHub;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "hub-pull-"));
  hub = await LoopbackHub.start(model.name, files);
});
afterEach(async () => {
  await hub.close();
  rmSync(folder, { recursive: true });
});

const run = (options: PullOptions = {}, token: string | null = null) =>
  pull(model, { hub: new Hub(hub.url, token), cacheFolder: folder, limits, ...options });

const blobs = () => readdirSync(join(folder, "models--org--name", "blobs"));

test("only what is needed comes, where huggingface_hub would look for it", async () => {
  const shown: [number, number][] = [];
  const pulled = await run({ onProgress: (bytes, total) => shown.push([bytes, total]) });
  const total = weights.length + files["config.json"].length + files["tokenizer.json"].length;
  expect(pulled).toMatchObject({ commit: COMMIT, files: 3, bytes: total, fetchedBytes: total });
  expect(pulled.dir).toBe(join(folder, "models--org--name", "snapshots", COMMIT));
  expect(readdirSync(pulled.dir)).toEqual(["config.json", "model.safetensors", "tokenizer.json"]);
  expect(readlinkSync(join(pulled.dir, "model.safetensors"))).toMatch(/^\.\.\/\.\.\/blobs\/[0-9a-f]{64}$/);
  expect(readFileSync(join(pulled.dir, "model.safetensors")).equals(weights)).toBe(true);
  expect(readFileSync(join(folder, "models--org--name", "refs", "main"), "utf8")).toBe(COMMIT);
  expect(blobs()).toHaveLength(3);
  expect(shown.at(-1)).toEqual([total, total]);

  const before = hub.requests.length;
  expect(await run()).toMatchObject({ dir: pulled.dir, fetchedBytes: 0 });
  expect(hub.requests).toHaveLength(before);
});

test("parts that are cut go on where they were", async () => {
  hub.fault = ({ path }, count) => (path === "model.safetensors" && count % 2 === 1 ? { cutAfter: 9000 } : null);
  const { dir } = await run();
  expect(readFileSync(join(dir, "model.safetensors")).equals(weights)).toBe(true);
  const ofWeights = hub.requests.filter(({ path }) => path === "model.safetensors");
  const asked = ofWeights.reduce((sum, { start, end }) => sum + end - start + 1, 0);
  expect(ofWeights.length).toBeGreaterThan(5);
  expect(asked).toBeGreaterThan(weights.length);
  expect(ofWeights.some(({ start }) => start % limits.partBytes !== 0)).toBe(true);
});

test("a download that was given up goes on where it was, in another process too", async () => {
  hub.fault = ({ path, start }) => (path === "model.safetensors" && start >= 140_000 ? { status: 403 } : null);
  await expect(run({ limits: { ...limits, connections: 1 } })).rejects.toMatchObject({ code: "ERR_DOWNLOAD" });
  expect(existsSync(join(folder, "models--org--name", "refs", "main"))).toBe(false);
  hub.fault = () => null;
  hub.requests.length = 0;
  const { dir } = await run();
  expect(readFileSync(join(dir, "model.safetensors")).equals(weights)).toBe(true);
  const ofWeights = hub.requests.filter(({ path }) => path === "model.safetensors");
  expect(ofWeights.map(({ start }) => start).sort((a, b) => a - b)).toEqual([140_000, 210_000, 280_000]);
});

test("a journal that is no journal is no progress", async () => {
  hub.fault = ({ start }) => (start >= 140_000 ? { status: 403 } : null);
  await expect(run()).rejects.toThrow();
  const journal = blobs().find((name) => name.endsWith(".journal"))!;
  writeFileSync(join(folder, "models--org--name", "blobs", journal), '{"partBytes": 70000, "done": [1e9]}');
  hub.fault = () => null;
  const { dir } = await run();
  expect(readFileSync(join(dir, "model.safetensors")).equals(weights)).toBe(true);
});

test("a server without ranges sends the whole, again and again where it is cut", async () => {
  let count = 0;
  hub.fault = ({ path }) => {
    if (path !== "model.safetensors") return null;
    count += 1;
    return count === 4 ? { cutAfter: 100_000 } : { ignoreRange: true };
  };
  const { dir } = await run();
  expect(readFileSync(join(dir, "model.safetensors")).equals(weights)).toBe(true);
});

test.each([
  ["model.safetensors", "f".repeat(64)],
  ["config.json", "f".repeat(40)],
])("%s with another sum never gets its name", async (path, sum) => {
  await hub.close();
  hub = await LoopbackHub.start(model.name, files, { [path]: sum });
  await expect(run()).rejects.toMatchObject({
    code: "ERR_DOWNLOAD",
    message: expect.stringMatching(
      new RegExp(`^org/name/${path}: expected the sum ${sum}, got [0-9a-f]+; .*thrown away$`),
    ),
  });
  expect(blobs().filter((name) => name.startsWith(sum))).toEqual([]);
  expect(existsSync(join(folder, "models--org--name", "snapshots", COMMIT, path))).toBe(false);
  expect(existsSync(join(folder, "models--org--name", "refs", "main"))).toBe(false);
});

test("a blob that has another size than its file is fetched again", async () => {
  const { dir } = await run();
  const blob = join(dir, readlinkSync(join(dir, "model.safetensors")));
  writeFileSync(blob, "cut off");
  expect(await run()).toMatchObject({ fetchedBytes: weights.length });
  expect(readFileSync(blob).equals(weights)).toBe(true);
});

test("429 and 503 are asked again after Retry-After, which has a limit", async () => {
  const waits = [
    { status: 429, headers: { "retry-after": "0" } },
    { status: 503, headers: { "retry-after": "86400" } },
  ];
  hub.fault = ({ path }) => (path === "config.json" ? (waits.shift() ?? null) : null);
  const { dir } = await run({ limits: { ...limits, maxDelayMs: 20 } });
  expect(existsSync(join(dir, "config.json"))).toBe(true);
  hub.fault = () => ({ status: 429 });
  rmSync(join(folder, "models--org--name"), { recursive: true });
  await expect(run()).rejects.toMatchObject({
    code: "ERR_DOWNLOAD",
    message: expect.stringContaining("3 times in a row"),
  });
});

test("a server that goes silent is asked again, and given up", async () => {
  hub.fault = (_, count) => (count === 1 ? { silent: true } : count === 4 ? { silentAfter: 500 } : null);
  const impatient = { ...limits, stallMs: 200 };
  expect((await run({ limits: impatient })).files).toBe(3);
  expect(hub.requests.some(({ start }) => start % limits.partBytes === 500)).toBe(true);
  rmSync(join(folder, "models--org--name"), { recursive: true });
  hub.fault = () => ({ silent: true });
  await expect(run({ limits: impatient })).rejects.toMatchObject({ message: expect.stringContaining("went silent") });
});

test("another range than the one asked for is refused", async () => {
  hub.fault = ({ path }) => (path === "model.safetensors" ? { shiftRange: 1 } : null);
  await expect(run()).rejects.toMatchObject({ code: "ERR_DOWNLOAD", message: expect.stringContaining("sends bytes") });
});

test("the key goes to the hub and not to where it redirects", async () => {
  hub.token = "hf_secret";
  const store = await LoopbackHub.start(model.name, files);
  try {
    // Another port is another origin.
    hub.fault = () => ({ redirect: store.url });
    const { dir } = await run({}, "hf_secret");
    expect(readFileSync(join(dir, "model.safetensors")).equals(weights)).toBe(true);
    expect(new Set(hub.requests.map(({ authorization }) => authorization))).toEqual(new Set(["Bearer hf_secret"]));
    expect(new Set(store.requests.map(({ authorization }) => authorization))).toEqual(new Set([undefined]));
  } finally {
    await store.close();
  }
});

test("redirects without an end are an error", async () => {
  hub.fault = () => ({ redirect: hub.url });
  await expect(run()).rejects.toMatchObject({ code: "ERR_DOWNLOAD", message: expect.stringMatching(/redirect/) });
});

test("without the key, a message says which variable takes one", async () => {
  hub.token = "hf_secret";
  await expect(run()).rejects.toMatchObject({ code: "ERR_DOWNLOAD", message: expect.stringContaining("set HF_TOKEN") });
});

test("a revision that is not there is told by its name", async () => {
  const missing = pull({ ...model, revision: "v9" }, { hub: new Hub(hub.url, null), cacheFolder: folder });
  await expect(missing).rejects.toMatchObject({
    code: "ERR_MODEL_NOT_FOUND",
    message: expect.stringContaining("(v9)"),
  });
});

test("a hub that does not answer is an error of the download", async () => {
  const hub = new Hub("http://127.0.0.1:9", null);
  await expect(run({ hub })).rejects.toMatchObject({
    code: "ERR_DOWNLOAD",
    message: expect.stringContaining("cannot be listed"),
  });
});

test("HF_HUB_OFFLINE: nothing is asked", async () => {
  process.env.HF_HUB_OFFLINE = "1";
  try {
    await expect(run()).rejects.toMatchObject({ message: expect.stringContaining("HF_HUB_OFFLINE is set") });
    expect(hub.requests).toEqual([]);
  } finally {
    delete process.env.HF_HUB_OFFLINE;
  }
});

describe("the files that are needed", () => {
  const chosen = (...paths: string[]) =>
    neededFiles(paths.map((path, bytes) => ({ path, bytes, sum: "" }))).map(({ path }) => path);

  test.each([
    [["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"], 3],
    [["model.safetensors", "pytorch_model.bin", "consolidated.safetensors"], 1],
    [["consolidated.safetensors", "pytorch_model.bin"], 1],
    [["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin", "pytorch_model.bin.index.json"], 3],
    [["flax_model.msgpack", "model.onnx", "sub/model.safetensors"], 0],
  ])("of %j", (paths, count) => {
    expect(chosen(...paths)).toEqual(paths.slice(0, count));
    expect(chosen("config.json", ...paths, ".gitattributes")).toEqual(["config.json", ...paths.slice(0, count)]);
  });
});
