/** A file in GGUF wherever a command takes MODEL. */
import { join } from "node:path";
import { floatType, ggufOf, ggufTokenizer } from "../helpers/gguf-models";
import { makeTestDir, type TestDir } from "../weights/files";
import { run } from "./run";

const bundled = join(__dirname, "..", "..", "models", "storyteller-6m");

let dir: TestDir;
let path: string;
beforeAll(() => {
  dir = makeTestDir();
  const tokenizer = ggufTokenizer(bundled, 4096, "gpt-2");
  path = dir.write("story.gguf", ggufOf(bundled, { type: floatType("BF16"), tokenizer }).file());
});
afterAll(() => dir.remove());

test("generate writes the same text as from the directory", async () => {
  const args = ["--prompt", "Once upon a time", "--temperature", "0", "--max-tokens", "24"];
  const [expected, actual] = [await run(["generate", bundled, ...args]), await run(["generate", path, ...args])];
  expect(actual).toEqual(expected);
  expect(actual.stdout.length).toBeGreaterThan(40);
});

test("inspect says what is in it", async () => {
  const { code, stdout } = await run(["inspect", path, "--json"]);
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({
    id: "story",
    path,
    config: { modelType: "mamba2", numLayers: 7, hiddenSize: 320, vocabSize: 4096, tieWordEmbeddings: true },
    weights: { parameters: 6_245_970, dtypes: { BF16: 6_207_360, F32: 38_610 } },
    tokenizer: { vocabSize: 4096, chatTemplate: true, eosTokens: [{ id: 4, token: "<|end|>" }] },
    files: [{ name: "story.gguf", bytes: expect.any(Number) }],
  });
});

test("doctor names what is wrong with a file", async () => {
  const broken = dir.write("broken.gguf", "GGUF");
  const { code, stdout } = await run(["doctor", broken, "--json"]);
  expect(code).toBe(1);
  expect(JSON.parse(stdout).model.errors).toEqual([
    expect.stringContaining("broken.gguf: the version: expected 4 bytes"),
  ]);
});
