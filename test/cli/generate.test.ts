import { once } from "node:events";
import { outcomeOf, run, start } from "./run";

const greedy = ["--temperature", "0", "--max-tokens", "20"];
const known = ", and the next day, the 14th of June, the day of the month,";

test("--json gives text, tokens, the reason it ended and timing", async () => {
  const { code, stdout, stderr } = await run(["generate", "--prompt", "Once upon a time", "--json", ...greedy]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  const result = JSON.parse(stdout);
  expect(result).toEqual({
    text: expect.any(String),
    tokenIds: expect.any(Array),
    finishReason: "length",
    usage: { promptTokens: 5, completionTokens: 20 },
    timing: { ttft_ms: expect.any(Number), tokens_per_s: expect.any(Number) },
  });
  expect(result.text).toContain(known.slice(0, 24));
  expect(result.tokenIds).toHaveLength(20);
});

test("a piped prompt, without the newline at its end; only text comes out", async () => {
  const { code, stdout, stderr } = await run(["generate", "storyteller-6m", ...greedy], {
    input: "Once upon a time\n",
  });
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(stdout).toContain(known.slice(0, 24));
  expect(stdout.endsWith("\n")).toBe(true);
});

test("--stop ends the text", async () => {
  const { stdout } = await run(["generate", "-p", "Once upon a time", "--stop", " next", "--stop", "never", ...greedy]);
  expect(stdout).toBe(", and the\n");
});

test("penalties: no word comes twice", async () => {
  const flags = ["--presence-penalty", "100", "--frequency-penalty", "-0.5", "--repetition-penalty", "1.1"];
  const { stdout } = await run(["generate", "--prompt", "Once upon a time", "--json", ...greedy, ...flags]);
  const { tokenIds } = JSON.parse(stdout);
  expect(tokenIds.length).toBeGreaterThan(10);
  expect(new Set(tokenIds).size).toBe(tokenIds.length);
});

test("no prompt at all", async () => {
  const { code, stdout, stderr } = await run(["generate"]);
  expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
  expect(stderr).toContain("error: there is no prompt: give --prompt TEXT, or pipe a text into stdin");
});

test("a reader that leaves ends it quietly", async () => {
  const child = start(["generate", "--prompt", "Once", "--max-tokens", "100000", "--seed", "1"]);
  child.stdout.once("data", () => child.stdout.destroy());
  let errors = "";
  child.stderr.on("data", (data) => {
    errors += data;
  });
  const [code] = await once(child, "exit");
  expect({ code, errors }).toEqual({ code: 0, errors: "" });
});

test("SIGINT ends the text and keeps what came", async () => {
  const child = start(["generate", "--prompt", "Once", "--max-tokens", "100000", "--seed", "1"]);
  child.stdout.once("data", () => child.kill("SIGINT"));
  const { code, stdout, stderr } = await outcomeOf(child);
  expect({ code, stderr }).toEqual({ code: 130, stderr: "" });
  expect(stdout.length).toBeGreaterThan(1);
});
