import { spawn } from "node:child_process";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { type Command, Option } from "commander";
import { EngineError } from "../errors";
import { wholeNumber } from "./numbers";

/** The same place from src/cli and from dist/cli. */
const root = join(__dirname, "..", "..");

interface Flags {
  readonly cuda: boolean;
  readonly jobs: number;
}

export function defineBuild(command: Command): void {
  command
    .option("--no-cuda", "leave out the CUDA backend, which is otherwise built where nvcc and cuBLAS are found")
    .addOption(
      new Option("--jobs <n>", "files compiled at once")
        .argParser(wholeNumber(1, 1024))
        .default(availableParallelism(), "one per core"),
    )
    .addHelpText(
      "after",
      `
Needs CMake 3.22 and a C++20 compiler (Debian and Ubuntu: sudo apt-get install -y cmake make g++); downloads nothing. The result
is in this package's folder, in build/Release, and is used before any prebuilt package.

Example:
  mamba-serve build
  CXX=clang++ mamba-serve build --no-cuda --jobs 4`,
    )
    .action(async ({ cuda, jobs }: Flags) => {
      const output = join(root, "build");
      const release = join(output, "Release");
      await run("cmake", [
        ...["-S", root, "-B", output, "-DCMAKE_BUILD_TYPE=Release", `-DCUDA=${cuda ? "ON" : "OFF"}`],
        `-DCMAKE_LIBRARY_OUTPUT_DIRECTORY=${release}`,
        `-DNODE_API_HEADERS=${headers().join(";")}`,
      ]);
      await run("cmake", ["--build", output, "--config", "Release", "--parallel", String(jobs)]);
      process.stdout.write(`built ${release}; \`mamba-serve doctor\` says what it can use\n`);
    });
}

/** Folders with node_api.h and napi.h, wherever npm has put their packages. */
function headers(): string[] {
  const folderOf = (name: string) => dirname(require.resolve(`${name}/package.json`));
  return [join(folderOf("node-api-headers"), "include"), folderOf("node-addon-api")];
}

/** What the program prints goes to stderr: stdout is for this command's own result. */
function run(program: string, args: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ["ignore", 2, 2] });
    child.on("error", (cause: NodeJS.ErrnoException) => {
      const message =
        cause.code === "ENOENT"
          ? `${program} is not installed; on Debian and Ubuntu: sudo apt-get install -y cmake make g++`
          : `${program} cannot be started: ${cause.message}`;
      reject(new EngineError("ERR_NOT_BUILT", message, { cause }));
    });
    child.on("close", (code, signal) => {
      if (code === 0) resolve();
      else
        reject(new EngineError("ERR_NOT_BUILT", `${program} failed (${signal ?? `exit status ${code}`}), see above`));
    });
  });
}
