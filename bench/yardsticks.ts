import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";

const root = join(__dirname, "..");
const build = join(root, "build-lab");

interface LinearRow {
  readonly bench: string;
  readonly shape: string;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly gflops: number;
  readonly peer_gflops: number;
  readonly gbps: number;
}

/** What the machine and oneDNN reach, measured by native/lab/cpu_linear.cpp. */
export interface Yardsticks {
  /** Read bandwidth of memory, all threads. */
  readonly gbps: number;
  /** bf16 matrix products with 512 rows. oneDNN's rate is 0 where it is not installed. */
  readonly linear: readonly LinearRow[];
}

/** Builds the lab program where needed and runs it. */
export function measureYardsticks(): Yardsticks {
  const program = join(build, "lab_cpu_linear");
  execFileSync("cmake", ["-S", root, "-B", build, "-DLAB=ON", "-DCMAKE_BUILD_TYPE=Release"], { stdio: "ignore" });
  execFileSync("cmake", ["--build", build, "--target", "lab_cpu_linear"], { stdio: ["ignore", "ignore", "inherit"] });
  if (!existsSync(program)) throw new Error(`${program} was not built`);
  const lines = execFileSync(program, ["--json", "--dtype", "bf16", "--max-m", "512"], { encoding: "utf8" })
    .trim()
    .split("\n");
  const rows = lines.map((line) => JSON.parse(line) as LinearRow);
  return { gbps: rows[0]!.gbps, linear: rows.filter((row) => row.m === 512) };
}

/** Rate of oneDNN (`peer_gflops`) or of our linear (`gflops`) over in_proj and out_proj, weighted by their work. */
export function layerRate(yardsticks: Yardsticks, prefix: string, field: "gflops" | "peer_gflops"): number {
  const rows = yardsticks.linear.filter(
    (row) => row.shape === `${prefix} in_proj` || row.shape === `${prefix} out_proj`,
  );
  const work = rows.reduce((sum, row) => sum + row.n * row.k, 0);
  const time = rows.reduce((sum, row) => sum + (row.n * row.k) / row[field], 0);
  return Number.isFinite(time) ? work / time : 0;
}
