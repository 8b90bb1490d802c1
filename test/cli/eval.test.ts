import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readTokenFile } from "../../src/cli/token-file";
import { run } from "./run";

const golden = join(__dirname, "..", "golden", "storyteller-6m", "golden.safetensors");

test("the reference implementation's perplexity", async () => {
  const { code, stdout, stderr } = await run(["eval", "perplexity", golden, "--json"]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  const { tokens, meanNll, perplexity } = JSON.parse(stdout);
  expect(tokens).toBe(4096);
  expect(Math.abs(meanNll / 3.5256 - 1)).toBeLessThan(0.002);
  expect(perplexity).toBeCloseTo(Math.exp(meanNll), 6);
});

test("each format beside the model as it is", async () => {
  const { code, stdout } = await run(["eval", "perplexity", golden, "--compare", "int8,state-bfloat16", "--json"]);
  expect(code).toBe(0);
  const { perplexity, formats } = JSON.parse(stdout);
  expect(formats.map(({ format }: { format: string }) => format)).toEqual(["int8", "state-bfloat16"]);
  for (const other of formats) {
    expect(other.more).toBeCloseTo(other.perplexity / perplexity - 1, 9);
    expect(Math.abs(other.more)).toBeLessThan(0.005);
    expect(other.more).not.toBe(0);
  }
});

test("as a table; formats that there are none of are refused with those there are", async () => {
  const { stdout } = await run(["eval", "perplexity", golden, "--compare", "int4"]);
  expect(stdout).toMatch(
    /^ +perplexity +beside +tokens\/s\nas given +\d+\.\d{3} +[\d,]+\nint4 +\d+\.\d{3} +\+\d\.\d\d % +[\d,]+\n$/,
  );
  const { code, stderr } = await run(["eval", "perplexity", golden, "--compare", "int3"]);
  expect(code).not.toBe(0);
  expect(stderr).toContain(
    "expected all or some of fp8, fp8-dynamic, int8, int4, state-bfloat16, state-float16, kv-fp8",
  );
});

describe("files", () => {
  let dir: string;
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), "tokens-"));
  });
  afterAll(() => rmSync(dir, { recursive: true }));

  const read = (name: string, content: string | Uint8Array) => {
    writeFileSync(join(dir, name), content);
    return readTokenFile(join(dir, name), "perplexity_text_ids");
  };

  test("text is tokenized", async () => {
    writeFileSync(join(dir, "story.txt"), "Once upon a time there was a king.");
    const { code, stdout } = await run(["eval", "perplexity", join(dir, "story.txt")]);
    expect(code).toBe(0);
    expect(stdout).toMatch(
      /^tokens +\d+ predicted, .* tokens\/s\nmean negative log likelihood +\d\.\d{4}\nperplexity /,
    );
  });

  test("each kind of file", async () => {
    expect(await read("a.txt", "[1]")).toBe("[1]");
    expect(await read("a.json", "[3, 1, 2]")).toEqual([3, 1, 2]);
    expect((await readTokenFile(golden, "greedy.0")) as number[]).toHaveLength(48);
  });

  test.each([
    ["a.json", "[1, 2.5]", /expected token ids, got 2.5 at index 1/],
    ["b.json", '{"ids": [1]}', /expected a JSON array of token ids, got something else/],
    ["c.json", "[1,", /got no JSON/],
    ["d.txt", Uint8Array.of(0x61, 0xff), /expected text in UTF-8/],
    ["e.safetensors", "", /expected at least 8 bytes/],
  ])("%s with %p is refused", async (name, content, message) => {
    await expect(read(name, content)).rejects.toThrow(message);
  });

  test("a file or tensor that is not there", async () => {
    await expect(readTokenFile(join(dir, "none.txt"), "x")).rejects.toMatchObject({ code: "ERR_IO" });
    await expect(readTokenFile(golden, "logits.0")).rejects.toThrow(
      /got type F32; --tensor chooses one of: greedy\.0,/,
    );
    await expect(readTokenFile(golden, "x")).rejects.toThrow(/got no such tensor/);
  });
});
