import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "./run";

const folder = mkdtempSync(join(tmpdir(), "mamba-serve-bench-"));
afterAll(() => rmSync(folder, { recursive: true }));

const linesOf = (text: string) =>
  text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
const small = ["--device", "cpu", "--threads", "2", "--runs", "1"];

test("bench kernels: a JSON line for the device and for each case, to stdout and to a file", async () => {
  const file = join(folder, "kernels.jsonl");
  const only = ["--model", "storyteller-6m", "--op", "causal_conv1d_update", "logprobs"];
  const args = ["bench", "kernels", ...small, ...only, "--json", "--save", file, "--commit", "abc1234"];
  const { code, stdout, stderr } = await run(args);
  expect([code, stderr]).toEqual([0, ""]);
  const [device, ...cases] = linesOf(stdout);
  expect(device).toMatchObject({ op: "device", bandwidth: expect.any(Number), arithmetic: expect.any(Number) });
  expect(cases.map((line) => line.op)).toEqual([
    ...new Array(5).fill("causal_conv1d_update"),
    ...new Array(4).fill("logprobs"),
  ]);
  expect(cases[1]).toMatchObject({
    bench: "kernels",
    case: "dim 896, B=8",
    model: "storyteller-6m",
    device: "cpu",
    dtype: "bf16",
    state_dtype: null,
    us: expect.any(Number),
    copy_us: expect.any(Number),
    bytes: 8 * 896 * 16 + 5 * 896 * 4,
    flops: 8 * 896 * 8,
    floor_us: expect.any(Number),
    share: expect.any(Number),
    peer: null,
    peer_us: null,
    date: expect.stringMatching(/^\d{4}-\d\d-\d\d$/),
    commit: "abc1234",
  });
  expect(readFileSync(file, "utf8")).toBe(stdout);
});

test("bench kernels: a table by op", async () => {
  const { code, stdout } = await run(["bench", "kernels", ...small, "--model", "storyteller-6m", "--op", "rms_norm"]);
  expect(code).toBe(0);
  expect(stdout).toMatch(/copies at [\d.,]+ GB\/s, bf16 products at .*, the smallest launch takes [\d.,]+ us\n/);
  expect(stdout).toMatch(
    /\nrms_norm +us +copy +floor +share +rate +peer +faster\n storyteller-6m\n {2}width 320, B=1 /,
  );
});

test("bench step: decodes and prefills of a model", async () => {
  const { code, stdout } = await run(["bench", "step", ...small, "--batch", "1,4", "--prefill", "96", "--json"]);
  expect(code).toBe(0);
  const [device, ...steps] = linesOf(stdout);
  expect(device).toMatchObject({ figure: "device" });
  expect(steps.map(({ figure, model, size }) => [figure, model, size])).toEqual([
    ["decode_step_ms", "storyteller-6m", 1],
    ["engine_step", "storyteller-6m", 1],
    ["decode_step_ms", "storyteller-6m", 4],
    ["engine_step", "storyteller-6m", 4],
    ["prefill_ms", "storyteller-6m", 96],
  ]);
  for (const { figure, ms, wall_ms, step_ms, idle_share } of steps) {
    const times = figure === "engine_step" ? [step_ms, idle_share] : [ms, wall_ms];
    for (const value of times) expect(value).toBeGreaterThan(0);
  }
});

test("a file that cannot be written is told before anything is measured", async () => {
  const outcome = await run(["bench", "kernels", ...small, "--save", join(folder, "none", "x.jsonl")]);
  expect(outcome.code).toBe(1);
  expect(outcome.stderr).toMatch(/^error: .*x\.jsonl cannot be written: .*ENOENT.* \(ERR_IO\)\n$/);
});
