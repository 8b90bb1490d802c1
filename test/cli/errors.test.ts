import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describeError } from "../../src/cli/report-error";
import { suggestModel } from "../../src/cli/suggest-model";
import { EngineError } from "../../src/errors";
import { run } from "./run";

test("an unknown model: message, code, suggestion, exit code 1", async () => {
  const { code, stdout, stderr } = await run(["inspect", "storyteler-6m"]);
  expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
  expect(stderr).toMatch(/^error: storyteler-6m: expected a model directory, .* \(ERR_MODEL_NOT_FOUND\)\n/);
  expect(stderr).toContain("hint: did you mean storyteller-6m?\n");
});

test("model directories beside the path are suggested, others are not", () => {
  const parent = mkdtempSync(join(tmpdir(), "models-"));
  try {
    for (const name of ["mamba2-130m", "mamba2-2.7b", "notes-on-mamba"]) {
      mkdirSync(join(parent, name));
      if (name !== "notes-on-mamba") writeFileSync(join(parent, name, "config.json"), "{}");
    }
    expect(suggestModel(join(parent, "mamba2-130"))).toBe(join(parent, "mamba2-130m"));
    expect(suggestModel(join(parent, "mamba-2.7b"))).toBe(join(parent, "mamba2-2.7b"));
    expect(suggestModel(join(parent, "notes-on-mamb"))).toBeUndefined();
    expect(suggestModel("meta-llama/some-model")).toBeUndefined();
  } finally {
    rmSync(parent, { recursive: true });
  }
});

test("what to do about a download goes by what has come of it, and a path that looks like a name may be one mistyped", () => {
  const hintOf = (subject: string) => describeError(new EngineError("ERR_DOWNLOAD", "x", { subject })).split("\n")[1];
  expect(hintOf("org/name/model.safetensors")).toBe("hint: what has come is kept; the same command goes on from there");
  expect(hintOf("org/name")).toBe("");
  expect(hintOf("models/storyteler-6m")).toBe("hint: did you mean models/storyteller-6m?");
});

test("a context that the output leaves no room in names the flag for that", () => {
  const hintOf = (message: string) => describeError(new EngineError("ERR_TOO_LONG", message)).split("\n")[1];
  expect(hintOf("the output maxTokens = 256")).toContain("lower --max-tokens");
  expect(hintOf("the output at least one")).not.toContain("--max-tokens");
});

test("an error of ours has no stack; any other has one and asks for a report", () => {
  expect(describeError(new EngineError("ERR_WEIGHTS", "x: cut off"))).toBe("error: x: cut off (ERR_WEIGHTS)\n");
  expect(describeError(new EngineError("ERR_MEMORY", "full"))).toMatch(/^error: full \(ERR_MEMORY\)\nhint: .*\n$/);
  const unexpected = describeError(new TypeError("oops"));
  expect(unexpected).toMatch(/^error: unexpected: TypeError: oops\n\s+at /);
  expect(unexpected).toContain("mamba-serve doctor");
  expect(describeError("text")).toContain("unexpected: text");
});
