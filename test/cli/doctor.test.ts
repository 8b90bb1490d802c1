import { join } from "node:path";
import { run } from "./run";

test("--json says that all works", async () => {
  const { code, stdout, stderr } = await run(["doctor", "--json"]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(JSON.parse(stdout)).toMatchObject({
    ok: true,
    version: expect.stringMatching(/^\d+\.\d+\.\d+/),
    node: expect.stringContaining(process.version),
    cpu: { cores: expect.any(Number), flags: { avx2: expect.any(Boolean), avx512_bf16: expect.any(Boolean) } },
    memory: { total: expect.any(Number), free: expect.any(Number) },
    addon: { path: expect.stringContaining("mamba_serve.node"), error: null },
    devices: expect.arrayContaining([
      { kind: "cpu", description: { kind: "cpu", isa: expect.any(String), threads: expect.any(Number) }, error: null },
    ]),
    model: { model: "storyteller-6m", parameters: 6_245_970, errors: [] },
  });
});

test("a broken addon: the loader's words, exit code 1, and the rest is still told", async () => {
  const broken = join(__dirname, "..", "..", "LICENSE");
  const { code, stdout } = await run(["doctor"], { env: { MAMBA_SERVE_ADDON: broken } });
  expect(code).toBe(1);
  expect(stdout).toMatch(/^addon +FAILED, .*LICENSE\n +cannot load .*\n/m);
  expect(stdout).toMatch(/^MAMBA_SERVE_ADDON +.*LICENSE$/m);
  expect(stdout).toMatch(/^model +ok, /m);
});

test("a broken model: every fault, exit code 1", async () => {
  const { code, stdout } = await run(["doctor", join(__dirname, "..", "golden", "mamba2")]);
  expect(code).toBe(1);
  expect(stdout).toMatch(/^model +FAILED, .*mamba2\n +.*tokenizer\.json/m);
  expect(stdout).toMatch(/^cpu +ok, \w+, \d+ threads$/m);
  expect(stdout).toMatch(/^cuda +(not built|not to be used: .*|ok, .*, compute capability \d+\.\d)$/m);
  expect(stdout).toMatch(/^auto +(cpu|cuda), the first of cuda, cpu that works$/m);
});
