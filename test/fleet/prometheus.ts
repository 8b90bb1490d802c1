import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

export async function freePort(): Promise<number> {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address() as { port: number };
  probe.close();
  await once(probe, "close");
  return port;
}

export interface Sample {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: readonly [time: number, value: string];
}

/** A Prometheus of its own that scrapes one server each second. */
export class Prometheus {
  private constructor(
    private readonly child: ChildProcess,
    private readonly dir: string,
    private readonly url: string,
  ) {}

  static async start(metricsPort: number, rules: string): Promise<Prometheus> {
    const dir = mkdtempSync(join(tmpdir(), "prometheus-"));
    const target = `127.0.0.1:${metricsPort}`;
    const config = {
      global: { scrape_interval: "1s", evaluation_interval: "1s" },
      rule_files: [rules],
      scrape_configs: [{ job_name: "mamba-serve", static_configs: [{ targets: [target] }] }],
    };
    writeFileSync(join(dir, "prometheus.yml"), JSON.stringify(config)); // JSON is YAML
    const url = `127.0.0.1:${await freePort()}`;
    const args = [`--config.file=${dir}/prometheus.yml`, `--storage.tsdb.path=${dir}/data`];
    args.push(`--web.listen-address=${url}`, "--log.level=error");
    const child = spawn("prometheus", args, { stdio: ["ignore", "inherit", "inherit"] });
    const prometheus = new Prometheus(child, dir, `http://${url}`);
    while (!(await fetch(`http://${url}/-/ready`).catch(() => null))?.ok) {
      if (child.exitCode !== null) throw new Error(`prometheus ended with ${child.exitCode}`);
      await sleep(100);
    }
    return prometheus;
  }

  async query(expr: string): Promise<Sample[]> {
    return (await this.ask<{ result: Sample[] }>(`query?query=${encodeURIComponent(expr)}`)).result;
  }

  /** The state of each rule that it evaluates: "ok", or what is wrong with it. */
  async rules(): Promise<{ readonly name: string; readonly health: string; readonly lastError?: string }[]> {
    const { groups } = await this.ask<{ groups: { rules: { name: string; health: string }[] }[] }>("rules");
    return groups.flatMap(({ rules }) => rules);
  }

  async stop(): Promise<void> {
    if (this.child.kill()) await once(this.child, "exit");
    rmSync(this.dir, { recursive: true, force: true });
  }

  private async ask<T>(path: string): Promise<T> {
    const response = await fetch(`${this.url}/api/v1/${path}`);
    const body = (await response.json()) as { status: string; error?: string; data: T };
    if (body.status !== "success") throw new Error(`${path}: ${body.error}`);
    return body.data;
  }
}
