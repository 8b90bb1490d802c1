import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Command, Option } from "commander";
import { loadAll } from "../../src/cli/commands";
import { createProgram } from "../../src/cli/program";

/** What the program prints for arguments that end it before a command runs. */
async function printed(args: readonly string[]): Promise<string> {
  const program = createProgram();
  let output = "";
  const write = (text: string) => {
    output += text;
  };
  const capture = (command: Command): void => {
    command.exitOverride().configureOutput({ writeOut: write, writeErr: write });
    command.commands.forEach(capture);
  };
  capture(program);
  await expect(program.parseAsync(args, { from: "user" })).rejects.toThrow();
  return output;
}

const commands = [
  "serve",
  "generate",
  "chat",
  "pull",
  "inspect",
  "doctor",
  "build",
  "eval",
  "eval perplexity",
  "bench",
  "bench serve",
  "bench latency",
  "bench throughput",
  "bench kernels",
  "bench step",
];

test.each(["", ...commands])("%s --help shows an example of that command", async (command) => {
  const help = await printed([...command.split(" ").filter(Boolean), "--help"]);
  expect(help).toContain(`Usage: mamba-serve ${command}`.trim());
  expect(help.slice(help.indexOf("Example:"))).toContain(`  mamba-serve ${command}`.trimEnd());
});

test("a flag's default is said once, in words", async () => {
  const program = createProgram();
  loadAll(program);
  const all = (command: Command): Option[] => [...command.options, ...command.commands.flatMap(all)];
  const twice = all(program).filter(
    ({ defaultValue, description }) => defaultValue !== undefined && description.includes("(default"),
  );
  expect(twice.map(({ flags }) => flags)).toEqual([]);
  expect(readFileSync(join(__dirname, "../../docs/flags.md"), "utf8")).not.toContain("[object ");
});

const loading = ["serve", "generate", "chat", "eval perplexity", "bench latency", "bench throughput"];

test.each(loading)("%s takes every engine option", async (command) => {
  const help = await printed([...command.split(" "), "--help"]);
  const flags = "device threads dtype state-dtype max-num-seqs max-num-batched-tokens max-model-len load-format";
  for (const flag of flags.split(" ")) expect(help).toContain(`--${flag} <`);
});

test("--version", async () => {
  expect(await printed(["--version"])).toMatch(/^\d+\.\d+\.\d+\n$/);
});

test.each([
  ["generate --max-tokens 0", "--max-tokens <n>' argument '0' is invalid. Expected a whole number of at least 1."],
  ["generate --max-tokens 1.5", "Expected a whole number of at least 1."],
  ["generate --max-tokens many", "Expected a whole number of at least 1."],
  ["generate --temperature -1", "Expected a number from 0 to 100."],
  ["generate --temperature NaN", "Expected a number from 0 to 100."],
  ["generate --top-p 0", "Expected a number above 0, at most 1."],
  ["generate --stop=", "'--stop <text>' argument '' is invalid. Expected a text that is not empty."],
  ["generate --seed 1e3", "Expected a whole number of at least 0."],
  ["generate --repetition-penalty 0", "Expected a number above 0, at most 100."],
  ["generate --presence-penalty -101", "Expected a number from -100 to 100."],
  ["chat --frequency-penalty some", "Expected a number from -100 to 100."],
  ["chat --min-p 2", "Expected a number from 0 to 1."],
  ["chat --threads 100000", "Expected a whole number from 1 to 1024."],
  ["serve --port 65536", "Expected a whole number from 0 to 65535."],
  ["serve --max-num-seqs 0", "Expected a whole number from 1 to 2147483647."],
  ["serve --dtype float64", "Allowed choices are auto, float32, bfloat16, float16."],
  ["serve --device gpu", "Allowed choices are auto, cuda, cpu."],
  ["eval perplexity", "missing required argument 'FILE'"],
  ["bench serve --request-rate 0", "Expected a number above 0, at most 1000000."],
  ["bench serve --goodput ttft", "--goodput takes NAME:MILLISECONDS, NAME of ttft, tpot, e2el, got ttft"],
  ["bench serve --goodput itl:5", "got itl:5"],
  ["bench serve --percentile-metrics ttft,speed", "Expected names of ttft, tpot, itl, e2el, client_queue_time."],
  ["bench serve --metric-percentiles 101", "Expected a number from 0 to 100."],
  ["bench serve --metadata gpu", "--metadata takes KEY=VALUE, got gpu"],
  ["bench serve --base-url localhost:8000", "--base-url must begin with http:// or https://"],
  ["bench serve --backend openai-chat --endpoint /v1/completions", "does not go with --backend openai-chat"],
  ["bench serve --ramp-up-strategy linear", "--ramp-up-start-rps and --ramp-up-end-rps go together"],
  ["bench serve --result-dir x", "need --save-result"],
  ["bench serve --extra-body [1]", "Expected a JSON object."],
  ["bench serve --dataset-name custom", "--dataset-name custom needs a file"],
  ["bench serve --dataset-path x", "not of --dataset-name random"],
  ["bench latency --batch-size 0", "Expected a whole number from 1 to 65536."],
  ["bench throughput --input-len 0-5", "Expected a whole number of at least 1, or a range such as 100-1024."],
  ["bench throughput --output-len 9-5", "or a range such as 100-1024."],
  ["bench kernels --model gpt", "Allowed choices are mamba2-130m, "],
  ["bench kernels --op softmax", "Allowed choices are causal_conv1d_update, "],
  ["bench kernels --runs 0", "Expected a whole number from 1 to 10000."],
  ["bench step --batch 1,x", "Expected a whole number from 1 to 1048576."],
  ["bench step --batch 8,8", "Expected each number once."],
  ["inspect one two", "too many arguments"],
  ["generate --prompt x --load-format dummy", "generate needs a tokenizer"],
])("%s is refused", async (line, message) => {
  const output = await printed(line.split(" "));
  expect(output).toContain(message);
  expect(output).toContain("(--help lists the options)");
});

test.each([
  ["generat", "(Did you mean generate?)"],
  ["generate --promt x", "(Did you mean --prompt?)"],
  ["eval perplexit", "(Did you mean perplexity?)"],
])("%s: %s", async (line, suggestion) => {
  expect(await printed(line.split(" "))).toContain(suggestion);
});
