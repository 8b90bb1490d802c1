/** The CPU's instruction sets one by one: the choice is made once per process, so each runs in a process of its own. */
import { execFile } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const register = join(__dirname, "..", "helpers", "register.js");
const script = join(__dirname, "cases", "isa-smoke.ts");
const cpuinfo = "/proc/cpuinfo";
const cpu = existsSync(cpuinfo) ? readFileSync(cpuinfo, "utf8") : "";

/** Instruction sets by the name that MAMBA_SERVE_CPU_ISA takes, with the processors' kind and the kernel's name of what they need. */
test.each([
  ["scalar", process.arch, ""],
  ["avx2", "x64", "avx2"],
  ["avx512", "x64", "avx512bw"],
  ["avx512bf16", "x64", "avx512_bf16"],
  ["amx", "x64", "amx_bf16"],
  ["neon", "arm64", ""],
])("%s", async (isa, arch, flag) => {
  if (process.arch !== arch || !cpu.includes(flag)) {
    console.info(`skipped: this CPU has no ${isa}`);
    return;
  }
  const env = { ...process.env, MAMBA_SERVE_CPU_ISA: isa };
  const { stdout } = await run(process.execPath, ["-r", register, script], { env });
  const report = JSON.parse(stdout) as { isa: string; checked: number };
  expect(report.isa).toBe(isa);
  expect(report.checked).toBeGreaterThan(40); // cases
});

test("a set that is not there is refused when a device is opened", async () => {
  const env = { ...process.env, MAMBA_SERVE_CPU_ISA: "avx9" };
  const open = 'require("./src/tensor/device.ts").Device.open({ kind: "cpu" })';
  const ran = run(process.execPath, ["-r", register, "-e", open], { env, cwd: join(__dirname, "..", "..") });
  await expect(ran).rejects.toMatchObject({
    stderr: expect.stringMatching(/MAMBA_SERVE_CPU_ISA: "avx9", expected what this machine can run: .*scalar/),
  });
});
