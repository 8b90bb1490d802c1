/** Models by name, from a hub on loopback. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { COMMIT, LoopbackHub } from "../helpers/loopback-hub";
import { run } from "./run";

const bundled = join(__dirname, "..", "..", "models", "storyteller-6m");
const files = Object.fromEntries(readdirSync(bundled).map((name) => [name, readFileSync(join(bundled, name))]));

let home: string;
let hub: LoopbackHub;
let env: NodeJS.ProcessEnv;
beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "hub-home-"));
  hub = await LoopbackHub.start("tales/storyteller", files);
  hub.token = "hf_secret";
  env = { HF_HOME: home, HF_ENDPOINT: hub.url, HF_TOKEN: "hf_secret" };
});
afterAll(async () => {
  await hub.close();
  rmSync(home, { recursive: true });
});

const generate = (model: string, more: NodeJS.ProcessEnv = {}) =>
  run(["generate", model, "--prompt", "Once", "--max-tokens", "4", "--temperature", "0", "--json"], {
    env: { ...env, ...more },
  });

test("what is not there is not run, and nothing is kept of it", async () => {
  const { code, stderr } = await run(["pull", "tales/novel"], { env });
  expect(code).toBe(1);
  expect(stderr).toMatch(/^error: tales\/novel \(main\) cannot be listed .* \(ERR_MODEL_NOT_FOUND\)/);
  expect(readdirSync(home)).toEqual([]);
});

test("a model that is named is downloaded once, and then runs without a network", async () => {
  const refused = await generate("tales/storyteller", { HF_HUB_OFFLINE: "1" });
  expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining("HF_HUB_OFFLINE is set (ERR_DOWNLOAD)") });

  const first = await generate("tales/storyteller");
  expect(first).toMatchObject({
    code: 0,
    stderr: expect.stringContaining("note: tales/storyteller (main, 0123456789ab): "),
  });
  const requests = hub.requests.length;
  expect(requests).toBe(5);

  const again = await generate("tales/storyteller", { HF_HUB_OFFLINE: "1", HF_ENDPOINT: "http://127.0.0.1:9" });
  expect(again).toMatchObject({ code: 0, stderr: "" });
  const { text } = JSON.parse(first.stdout) as { text: string };
  expect(JSON.parse(again.stdout)).toMatchObject({ text });
  expect(hub.requests).toHaveLength(requests);
});

test("pull prints the folder, or what came as JSON", async () => {
  const dir = join(home, "hub", "models--tales--storyteller", "snapshots", COMMIT);
  expect(await run(["pull", "tales/storyteller@v1"], { env })).toMatchObject({ code: 0, stdout: `${dir}\n` });
  const { stdout } = await run(["pull", "tales/storyteller", "--json"], { env });
  expect(JSON.parse(stdout)).toMatchObject({ dir, commit: COMMIT, fetchedBytes: 0 });
  const { stdout: inspected } = await run(["inspect", "tales/storyteller", "--json"], { env });
  expect(JSON.parse(inspected)).toMatchObject({ path: dir });
});

test.each(["storyteller", "../x/y", "a/b/c"])("pull %s is no name", async (name) => {
  const { code, stderr } = await run(["pull", name], { env });
  expect(code).toBe(1);
  expect(stderr).toContain("Expected a name as org/name, org/name@revision or org/name:TAG.");
});
