/** The soak for 15 seconds: see test/soak/main.ts. */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Check } from "../soak/verdict";

const main = ["-r", join(__dirname, "..", "helpers", "register.js"), join(__dirname, "..", "soak", "main.ts")];
const soak = (...args: string[]) => promisify(execFile)(process.execPath, [...main, ...args], { maxBuffer: 2 ** 26 });

test("15 seconds of mixed traffic: every answer is right, and nothing is left behind", async () => {
  const { stdout } = await soak("--seconds", "15", "--json").catch((failure: { stdout: string; stderr: string }) => {
    throw new Error(`${failure.stdout.slice(0, 20_000)}\n${failure.stderr}`);
  });
  const { counts, checks, failures } = JSON.parse(stdout) as {
    counts: Record<string, number>;
    checks: Check[];
    failures: string[];
  };
  expect(failures).toEqual([]);
  expect(checks.filter(({ ok }) => ok === false)).toEqual([]);
  for (const kind of ["compared", "streamed", "aborted", "refused", "unseeded"])
    expect(counts[kind]).toBeGreaterThan(0);
}, 180_000);

test("--help has an example", async () => {
  expect((await soak("--help")).stdout).toContain("npm run soak -- --seconds 60");
});
