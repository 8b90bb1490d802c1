/** What shells complete that have read what the program prints for them. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadAll } from "../../src/cli/commands";
import { completedCommands } from "../../src/cli/completion";
import { completionScripts } from "../../src/cli/completion-scripts";
import { createProgram } from "../../src/cli/program";
import { run } from "./run";

const program = createProgram();
loadAll(program);
const commands = completedCommands(program);

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "completion-"));
  for (const shell of ["bash", "zsh", "fish"] as const) {
    writeFileSync(join(dir, shell), completionScripts[shell](program.name(), commands));
  }
  writeFileSync(join(dir, "config.json"), "{}");
});
afterAll(() => rmSync(dir, { recursive: true }));

/** What a shell says to a program of it, as sorted lines; null where there is no such shell. */
function ask(shell: string, script: string): string[] | null {
  const { error, stdout, stderr } = spawnSync(shell, ["-c", script], { cwd: dir, encoding: "utf8" });
  if ((error as NodeJS.ErrnoException | undefined)?.code === "ENOENT") {
    console.info(`${shell} is not installed; its script is not tested`);
    return null;
  }
  expect(stderr).toBe("");
  return stdout.split("\n").filter(Boolean).sort();
}

/** As bash splits the words of a line; the last is to be completed. */
const bash = (...words: string[]) =>
  ask(
    "bash",
    `source ./bash
     COMP_WORDS=(mamba-serve ${words.map((word) => `'${word}'`).join(" ")}) COMP_CWORD=${words.length}
     _mamba_serve
     printf '%s\\n' "\${COMPREPLY[@]}"`,
  )!;

test("the program prints the same, and refuses another shell", async () => {
  const { code, stdout } = await run(["completion", "bash"]);
  expect({ code, stdout }).toEqual({ code: 0, stdout: completionScripts.bash(program.name(), commands) });
  expect((await run(["completion", "tcsh"])).stderr).toMatch(/bash, zsh, fish/);
});

describe("bash", () => {
  test.each<[string[], string[]]>([
    [["se"], ["serve"]],
    [
      ["bench", "st"],
      ["startup", "step"],
    ],
    [
      ["completion", ""],
      ["bash", "fish", "zsh"],
    ],
    [["serve", "--replicas", "2", "--dev"], ["--device"]],
    [
      ["serve", "--device", ""],
      ["auto", "cpu", "cuda"],
    ],
    [["serve", "--device", "=", "cu"], ["cuda"]],
    [
      ["serve", "--device", "="],
      ["auto", "cpu", "cuda"],
    ],
    [["serve", "--config", "conf"], ["config.json"]],
    [["serve", "--port", ""], []],
    [["generate", "--no-such-flag"], []],
  ])("%j", (words, completed) => {
    expect(bash(...words)).toEqual(completed);
  });

  test("every command and every long flag of it", () => {
    expect(bash("")).toEqual(program.commands.map((command) => command.name()).sort());
    for (const { words, flags } of commands) {
      const long = flags.flatMap(({ names }) => names.filter((name) => name.startsWith("--")));
      expect(bash(...words, "--")).toEqual(long.sort());
    }
  });
});

test("fish", () => {
  const complete = (line: string) =>
    ask("fish", `source ./fish; complete -C ${JSON.stringify(line)} | string replace -r '\\t.*' ''`);
  if (complete("mamba-serve ser") === null) return;
  expect(complete("mamba-serve ser")).toEqual(["serve"]);
  expect(complete("mamba-serve bench st")).toEqual(["startup", "step"]);
  expect(complete("mamba-serve serve --device ")).toEqual(["auto", "cpu", "cuda"]);
  expect(complete("mamba-serve serve --repl")).toEqual(["--replicas"]);
});

test("zsh", () => {
  /** What its functions are given, which only an interactive shell has. */
  const given = (...words: string[]) =>
    ask(
      "zsh",
      `compdef() {}; _describe() { print -lr -- $subcommands }; _arguments() { print -lr -- "$@" "words $words" }
       source ./zsh
       words=(mamba-serve ${words.map((word) => `'${word}'`).join(" ")}) CURRENT=${words.length + 1}
       _mamba_serve`,
    );
  const all = given("");
  if (all === null) return;
  expect(all).toContain("serve:Serve a model over HTTP, with OpenAI's API.");
  expect(given("bench", "")).toContain(
    "latency:Time batches of equal requests, in this process and one batch after the other.",
  );
  const serve = given("serve", "--device", "");
  expect(serve).toContain("*--device=[where the model runs; auto\\: a GPU if there is one]:value:(auto cuda cpu)");
  expect(serve).toContain("words serve --device ");
});
