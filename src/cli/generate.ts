import { text as readAll } from "node:stream/consumers";
import { type Command, Option } from "commander";
import type { EngineOptions } from "../engine/policy/config";
import type { FinishReason } from "../engine/policy/request";
import type { Generation } from "../llm/types";
import { addEngineFlags, addModelArgument, refuseDummy } from "./engine-flags";
import { addSamplingFlags, type SamplingFlags, samplingOf } from "./sampling-flags";
import { formatMeasure } from "./units";
import { withModel } from "./with-model";

interface Flags extends EngineOptions, SamplingFlags {
  readonly prompt?: string;
  readonly json?: true;
}

export function defineGenerate(command: Command): void {
  command
    .addOption(new Option("-p, --prompt <text>", "text to continue (default: what is piped into stdin)"))
    .option("--json", "print one JSON object at the end instead of text")
    .addHelpText(
      "after",
      `
Example:
  mamba-serve generate --prompt "Once upon a time" --max-tokens 50
  echo "The king said" | mamba-serve generate --temperature 0 --json`,
    );
  addModelArgument(command);
  addSamplingFlags(command, { maxTokens: 256 });
  addEngineFlags(command, { maxNumSeqs: 1 });
  command.action(async (model: string, flags: Flags) => {
    refuseDummy(command, flags);
    const prompt = flags.prompt ?? (await pipedPrompt());
    if (prompt === "") command.error("error: there is no prompt: give --prompt TEXT, or pipe a text into stdin");
    await withModel(model, flags, async (llm) => {
      const { signal } = abortOnInterrupt();
      const answer = llm.generate(prompt, { ...samplingOf(flags), signal });
      const result = await stream(answer, flags.json ? () => {} : (text) => void process.stdout.write(text));
      // On one line, for tools: pretty printing gives each token id a line.
      if (flags.json) return void process.stdout.write(`${JSON.stringify(result)}\n`);
      process.stdout.write("\n");
      if (process.stderr.isTTY) process.stderr.write(`\n${summary(result)}\n`);
    });
  });
}

async function pipedPrompt(): Promise<string> {
  if (process.stdin.isTTY) return "";
  // The newline at the end is the shell's, and a model would take it for the end of a line.
  return (await readAll(process.stdin)).replace(/\r?\n$/, "");
}

/** Ctrl-C ends the answer; what has come so far is kept, and the exit code tells. */
function abortOnInterrupt(): AbortController {
  const abort = new AbortController();
  process.once("SIGINT", () => {
    process.exitCode = 130;
    abort.abort();
  });
  return abort;
}

interface Result {
  readonly text: string;
  readonly tokenIds: readonly number[];
  readonly finishReason: FinishReason;
  readonly usage: { readonly promptTokens: number; readonly completionTokens: number };
  /** Null where too few tokens came to measure. The rate leaves out the first token, which waits for the prompt. */
  readonly timing: { readonly ttft_ms: number | null; readonly tokens_per_s: number | null };
}

async function stream(generation: Generation, write: (text: string) => void): Promise<Result> {
  const start = performance.now();
  let text = "";
  const tokenIds: number[] = [];
  let finishReason: FinishReason = "abort";
  let first: { at: number; tokens: number } | null = null;
  for await (const chunk of generation) {
    text += chunk.text;
    tokenIds.push(...chunk.tokenIds);
    finishReason = chunk.finishReason ?? finishReason;
    if (first === null && tokenIds.length > 0) first = { at: performance.now(), tokens: tokenIds.length };
    write(chunk.text);
  }
  const later = first === null ? 0 : tokenIds.length - first.tokens;
  const round = (value: number) => Math.round(value * 100) / 100;
  return {
    text,
    tokenIds,
    finishReason,
    usage: { promptTokens: generation.promptTokens, completionTokens: tokenIds.length },
    timing: {
      ttft_ms: first === null ? null : round(first.at - start),
      tokens_per_s: first === null || later === 0 ? null : round((later * 1000) / (performance.now() - first.at)),
    },
  };
}

function summary({ usage, timing, finishReason }: Result): string {
  const parts = [`${usage.promptTokens} + ${usage.completionTokens} tokens (${finishReason})`];
  if (timing.ttft_ms !== null) parts.push(`first after ${formatMeasure(timing.ttft_ms)} ms`);
  if (timing.tokens_per_s !== null) parts.push(`${formatMeasure(timing.tokens_per_s)} tokens/s`);
  return parts.join(", ");
}
