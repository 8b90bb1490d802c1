/**
 * The tarballs, as a user meets them: installed in an empty folder, without a compiler and without a network. It takes minutes, one
 * of them to compile the addon from the packed sources, so only FULL_PACKAGES=1 runs it (`npm run test:packages`, .ci/run).
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { text } from "node:stream/consumers";
import { LLM } from "../../src/llm/llm";
import { type Registry, startRegistry } from "../helpers/registry";

const root = join(__dirname, "..", "..");
const platform = `linux-${process.arch}`;
const prompt = "Once upon a time there was a";

const folder = mkdtempSync(join(tmpdir(), "mamba-serve-install-"));
const [bin, tarballs, project] = ["bin", "tarballs", "project"].map((name) => join(folder, name)) as [
  string,
  string,
  string,
];
let registry: Registry;

/** Programs that a machine has which can run Node. None of them compiles. */
function linkPrograms(): void {
  mkdirSync(bin);
  const which = (name: string) => realpathSync(execFileSync("which", [name], { encoding: "utf8" }).trim());
  for (const name of ["npm", "npx", "sh", "env"]) symlinkSync(which(name), join(bin, name));
  symlinkSync(process.execPath, join(bin, "node"));
}

interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Only loopback answers, and nothing of the user's own settings counts. */
async function run(program: string, args: readonly string[], more: NodeJS.ProcessEnv = {}): Promise<Outcome> {
  const nowhere = "http://127.0.0.1:9";
  const env = {
    ...{ PATH: bin, HOME: folder, npm_config_cache: join(folder, "cache"), npm_config_registry: registry.url },
    ...{ http_proxy: nowhere, https_proxy: nowhere, no_proxy: "127.0.0.1", npm_config_update_notifier: "false" },
    ...more,
  };
  const child: ChildProcess = spawn(program, args, { cwd: project, env, stdio: ["ignore", "pipe", "pipe"] });
  const closed = new Promise<number | null>((resolve, reject) => child.once("close", resolve).once("error", reject));
  const [stdout, stderr, code] = await Promise.all([text(child.stdout!), text(child.stderr!), closed]);
  return { code, stdout, stderr };
}

const succeeded = (outcome: Outcome) => {
  expect(outcome).toMatchObject({ code: 0 });
  return outcome;
};

(process.env.FULL_PACKAGES ? describe : describe.skip)("the tarballs", () => {
  beforeAll(async () => {
    linkPrograms();
    mkdirSync(project);
    execFileSync(join(root, "node_modules", ".bin", "tsc"), ["-p", join(root, "tsconfig.build.json")]);
    const built = `${platform}=${join(root, "build", "Release")}`;
    execFileSync(process.execPath, [join(root, "scripts", "pack.js"), tarballs, built], {
      stdio: ["ignore", "ignore", 2],
    });
    registry = await startRegistry(readdirSync(tarballs).map((name) => join(tarballs, name)));
    succeeded(await run("npm", ["install", "mamba-serve", "--no-audit", "--no-fund"]));
  }, 240_000);

  afterAll(async () => {
    await registry?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  const packageOf = (name: string) => join(project, "node_modules", "@mamba-serve", name);

  test("npm takes the package of this machine, and none has an install script", async () => {
    expect(readdirSync(dirname(packageOf(platform)))).toEqual([platform]);
    expect(existsSync(join(project, "node_modules", "mamba-serve", "build"))).toBe(false);
    const { scripts } = require(join(project, "node_modules", "mamba-serve", "package.json")) as { scripts?: object };
    expect(scripts).toBeUndefined();
  });

  test("npx mamba-serve generates what this checkout does", async () => {
    const args = ["mamba-serve", "generate", "--prompt", prompt, "--max-tokens", "12", "--temperature", "0", "--json"];
    const { stdout } = succeeded(await run("npx", ["--no-install", ...args]));
    const llm = await LLM.load();
    const { text, tokenIds } = await llm.generate(prompt, { maxTokens: 12, temperature: 0 });
    await llm.close();
    expect(JSON.parse(stdout)).toMatchObject({ text, tokenIds });
  });

  const consumer = `
import { LLM, EngineError, type GenerateParams, type GenerationChunk } from "mamba-serve";

const params: GenerateParams = { maxTokens: 4, temperature: 0 };

async function main(): Promise<void> {
  const llm = await LLM.load();
  const chunks: GenerationChunk[] = [];
  for await (const chunk of llm.generate(${JSON.stringify(prompt)}, params)) chunks.push(chunk);
  const refused: unknown = await llm.generate("", { temperature: -1 }).then(() => null, (error: unknown) => error);
  await llm.close();
  const code = EngineError.is(refused) ? refused.code : "none";
  console.log(chunks.map(({ text }) => text).join("").length > 0, code);
}
void main();
`;

  test("strict TypeScript programs, as a module of either kind, compile and run", async () => {
    const files = ["consumer.mts", "consumer.cts"];
    for (const file of files) writeFileSync(join(project, file), consumer);
    const compilerOptions = {
      ...{ strict: true, noUncheckedIndexedAccess: true, exactOptionalPropertyTypes: true, module: "nodenext" },
      ...{ target: "es2023", types: ["node"], typeRoots: [join(root, "node_modules", "@types")] },
    };
    writeFileSync(join(project, "tsconfig.json"), JSON.stringify({ compilerOptions, files }));
    succeeded(await run(process.execPath, [join(root, "node_modules", "typescript", "bin", "tsc"), "-p", "."]));
    for (const file of files) {
      const { stdout } = succeeded(await run("node", [file.replace("ts", "js")]));
      expect(stdout).toBe("true ERR_REQUEST\n");
    }
  });

  test("without the machine's package an error names the ways to get one, and build names what it lacks", async () => {
    const kept = join(folder, "kept");
    execFileSync("mv", [packageOf(platform), kept]);
    try {
      const { code, stderr } = await run("npx", ["--no-install", "mamba-serve", "generate", "--prompt", "x"]);
      expect(code).toBe(1);
      expect(stderr).toContain(`npm install --include=optional @mamba-serve/${platform}`);
      expect(stderr).toContain("npx mamba-serve build");
      const built = await run("npx", ["--no-install", "mamba-serve", "build"]);
      expect(built.code).toBe(1);
      expect(built.stderr).toContain("cmake is not installed; on Debian and Ubuntu: sudo apt-get install");
    } finally {
      execFileSync("mv", [kept, packageOf(platform)]);
    }
  });

  test("npm would publish each tarball without a warning", async () => {
    for (const name of readdirSync(tarballs)) {
      const nothingYet = { npm_config_registry: `${registry.url}/empty` };
      const { stderr } = succeeded(await run("npm", ["publish", "--dry-run", join(tarballs, name)], nothingYet));
      const warnings = stderr
        .split("\n")
        .filter((line) => /npm warn/i.test(line) && !/requires you to be logged in/.test(line));
      expect(warnings).toEqual([]);
    }
  });

  test("mamba-serve build makes an addon from the packed sources, without a network", async () => {
    const PATH = [bin, ...process.env.PATH!.split(":").filter((path) => !path.includes("node_modules"))].join(":");
    succeeded(await run("npx", ["--no-install", "mamba-serve", "build", "--no-cuda"], { PATH }));
    const { stdout } = succeeded(await run("npx", ["--no-install", "mamba-serve", "doctor", "--json"]));
    const addon = join(project, "node_modules", "mamba-serve", "build", "Release", "mamba_serve.node");
    expect(JSON.parse(stdout)).toMatchObject({ ok: true, addon: { path: addon, error: null } });
  }, 1_800_000);
});
