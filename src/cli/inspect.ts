import type { Command } from "commander";
import type { ModelConfig } from "../models/config";
import { addModelArgument } from "./engine-flags";
import { type Fact, printJson, renderFacts } from "./facts";
import { type ModelFacts, readModelFacts } from "./model-facts";
import { formatBytes, formatCount, formatMagnitude } from "./units";

export function addInspect(program: Command): void {
  const command = program
    .command("inspect")
    .description("Describe a model without loading its weights.")
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      `
Example:
  mamba-serve inspect
  mamba-serve inspect ./my-model --json`,
    );
  addModelArgument(command).action(async (model: string, { json }: { json?: true }) => {
    const facts = await readModelFacts(model);
    if (json) printJson(facts);
    else process.stdout.write(renderFacts(groups(facts)));
  });
}

function groups(facts: ModelFacts): Fact[][] {
  const { config, files } = facts;
  const width = Math.max(0, ...files.map(({ name }) => name.length));
  return [
    [
      ["model", facts.id],
      ["path", facts.path],
    ],
    architecture(config),
    [...weights(facts), ["state", state(facts)]],
    [...text(facts), ["sampling", sampling(config)]],
    [["files", files.map(({ name, bytes }) => `${name.padEnd(width)}  ${formatBytes(bytes).padStart(10)}`)]],
  ];
}

function architecture(config: ModelConfig): Fact[] {
  const { numHeads, headDim, numGroups, stateSize, convKernel, convDim } = config;
  const plural = (count: number, noun: string) => `${count} ${noun}${count === 1 ? "" : "s"}`;
  return [
    ["architecture", config.modelType],
    ["layers", String(config.numLayers)],
    ["hidden size", formatCount(config.hiddenSize)],
    ["heads", `${numHeads} of ${headDim}, ${plural(numGroups, "group")}`],
    ["state size", String(stateSize)],
    ["convolution", `${formatCount(convDim)} channels, ${convKernel} tokens wide`],
  ];
}

function weights({ weights }: ModelFacts): Fact[] {
  if ("error" in weights) return [["weights", `unreadable: ${weights.error}`]];
  const byType = Object.entries(weights.dtypes).map(([dtype, count]) => `${dtype} ${formatMagnitude(count)}`);
  return [
    ["parameters", `${formatCount(weights.parameters)} (${byType.join(", ")})`],
    ["weights", formatBytes(weights.bytes)],
  ];
}

function state({ stateBytes }: ModelFacts): string {
  return `${formatBytes(stateBytes.float32)} for each sequence (${formatBytes(stateBytes.bfloat16)} with --state-dtype bfloat16)`;
}

function text({ config, tokenizer }: ModelFacts): Fact[] {
  if ("error" in tokenizer) return [["tokenizer", `unreadable: ${tokenizer.error}`]];
  const { vocabSize, chatTemplate, eosTokens } = tokenizer;
  const unused = config.vocabSize === vocabSize ? "" : ` (the embedding has ${formatCount(config.vocabSize)} rows)`;
  return [
    ["vocabulary", `${formatCount(vocabSize)} tokens${unused}`],
    ["chat template", chatTemplate ? "yes" : "no"],
    ["end of text", eosTokens.map(({ id, token }) => `${id} ${token ?? ""}`.trim()).join(", ") || "none"],
  ];
}

function sampling({ generationDefaults: defaults }: ModelConfig): string {
  const parts = [
    ["temperature", defaults.temperature ?? 1],
    ["top-k", defaults.topK],
    ["top-p", defaults.topP],
    ["min-p", defaults.minP],
    ["repetition penalty", defaults.repetitionPenalty],
  ].filter(([, value]) => value !== undefined);
  return parts.map((part) => part.join(" ")).join(", ");
}
