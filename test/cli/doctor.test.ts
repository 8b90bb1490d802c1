import { createServer } from "node:net";
import { join } from "node:path";
import { parseLimits, readLimits, tryPort } from "../../src/cli/limits";
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
      {
        kind: "cpu",
        description: { kind: "cpu", isa: expect.any(String), threads: expect.any(Number) },
        products: "own kernels",
        error: null,
      },
    ]),
    port: { port: 8000 },
    limits: { openFiles: expect.any(Number) },
    model: { model: "storyteller-6m", parameters: 6_245_970, stateBytes: expect.any(Number), errors: [] },
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
  expect(stdout).toMatch(/^cpu +ok, \w+, \d+ threads, matrix products by own kernels$/m);
  expect(stdout).toMatch(/^cuda +(not built|not to be used: .*|ok, .*, compute capability \d+\.\d, .*)$/m);
  expect(stdout).toMatch(/^auto +(cpu|cuda), the first of cuda, cpu that works$/m);
});

test("limits are those of the process, or none", () => {
  const text = `Limit                     Soft Limit           Hard Limit           Units
Max processes             unlimited            unlimited            processes
Max open files            1024                 524288               files
Max locked memory         8388608              unlimited            bytes
`;
  expect(parseLimits(text)).toEqual({ openFiles: 1024, processes: null, lockedMemoryBytes: 8_388_608 });
  expect(readLimits()).toMatchObject({ openFiles: expect.any(Number) });
});

test("few open files are named, with what to do", async () => {
  const { stdout } = await run(["doctor"]);
  expect(stdout).toMatch(/^open files +(\d+|no limit)(, few for 1024 connections: ulimit -n 1280)?$/m);
  expect(stdout).toMatch(/^port 8000 +(free|not free \(EADDRINUSE\); serve takes another with --port)$/m);
  expect(stdout).toMatch(/^prefix cache +states of \d.* on the device; /m);
});

test("a port in use is told from a free one", async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  expect(await tryPort(port)).toEqual({ port, error: "EADDRINUSE" });
  await new Promise((resolve) => server.close(resolve));
  expect(await tryPort(port)).toEqual({ port, error: null });
});
