/** Each reader over some changed files, as `npm run fuzz` does for minutes. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EngineError } from "../../src/errors";
import { configTarget } from "./config";
import { fuzz, type Target } from "./fuzz";
import { ggufTarget } from "./gguf";
import { safetensorsTarget } from "./safetensors";
import { tokenizerTarget } from "./tokenizer";
import { torchTarget } from "./torch";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "fuzz-"));
  // The tokenizer library writes to the terminal what it does not know.
  jest.spyOn(console, "warn").mockImplementation();
});
afterEach(() => {
  rmSync(dir, { recursive: true });
  jest.restoreAllMocks();
});

const run = (target: Target, executions: number) =>
  fuzz(target, { dir, seed: 1, isOver: (progress) => progress.executions >= executions });

it.each([
  { target: safetensorsTarget, executions: 1500 },
  { target: torchTarget, executions: 3000 },
  { target: configTarget, executions: 3000 },
  { target: ggufTarget, executions: 1500 },
  { target: tokenizerTarget, executions: 1000 },
])("$target.name: whatever the bytes, it is read or refused", async ({ target, executions }) => {
  const { findings, outcomes, kept } = await run(target, executions);
  expect(findings).toEqual([]);
  expect(outcomes.success).toBeGreaterThan(0);
  expect(Object.keys(outcomes).length).toBeGreaterThan(1);
  expect(kept).toBeGreaterThan(10);
});

describe("a finding", () => {
  const reader = (read: (text: string) => void): Target => ({
    name: "broken",
    codes: ["ERR_CONFIG"],
    seeds: () => [new Map([["a.json", Buffer.from('{"size": 3, "name": "x"}')]])],
    run: (_, input) => {
      read(input.get("a.json")!.toString());
      return "read";
    },
  });

  it.each<[string, (text: string) => void]>([
    ["an error of JavaScript's", (text) => void JSON.parse(text)],
    [
      "a code that is not expected",
      (text) => {
        if (!text.includes("size")) throw new EngineError("ERR_IO", "no size");
      },
    ],
  ])("is %s, once, with the files that made it", async (_, read) => {
    const { findings } = await run(reader(read), 200);
    expect(findings.length).toBeGreaterThan(0);
    expect(new Set(findings.map(({ what }) => what)).size).toBe(findings.length);
    expect(findings[0]!.dir).toContain("finding-");
  });

  it("is a reader that takes too long", async () => {
    const slow = reader((text) => {
      const start = process.cpuUsage();
      while (!text.includes("size") && process.cpuUsage(start).user < 150_000);
    });
    const { findings } = await fuzz(slow, { dir, seed: 1, mostMs: 100, isOver: ({ findings }) => findings.length > 0 });
    expect(findings).toEqual([expect.objectContaining({ what: expect.stringContaining("took") })]);
  });

  it("is none where the code is an expected one", async () => {
    const refuse = (text: string) => {
      if (!text.includes("size")) throw new EngineError("ERR_CONFIG", "no size");
    };
    expect((await run(reader(refuse), 200)).findings).toEqual([]);
  });
});
