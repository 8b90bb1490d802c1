import type { Command } from "commander";
import { PAGE_SIZE } from "../engine/policy/kv-pages";
import type { ModelConfig } from "../models/config";
import type { AttentionGeometry, GdnGeometry, MoeGeometry, SsmGeometry } from "../models/config/geometry";
import { addModelArgument } from "./engine-flags";
import { type Fact, printJson, renderFacts } from "./facts";
import { type ModelFacts, readModelFacts } from "./model-facts";
import { formatBytes, formatCount, formatMagnitude } from "./units";

export function defineInspect(command: Command): void {
  command.option("--json", "print one JSON object").addHelpText(
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
    [...weights(facts), ...state(facts)],
    [...text(facts), ["sampling", sampling(config)]],
    [["files", files.map(({ name, bytes }) => `${name.padEnd(width)}  ${formatBytes(bytes).padStart(10)}`)]],
  ];
}

function architecture(config: ModelConfig): Fact[] {
  return [
    ["architecture", config.modelType],
    ["layers", layers(config)],
    ["hidden size", formatCount(config.hiddenSize)],
    ...("gdn" in config ? deltaNet(config.gdn) : mixer(config.ssm)),
    ...("attention" in config && config.attention ? attention(config.attention) : []),
    ...feedForward(config),
  ];
}

/** How many there are, of which kinds. */
function layers(config: ModelConfig): string {
  const kinds = "layers" in config ? [...new Set(config.layers)] : [];
  if (!("layers" in config) || kinds.length < 2) return String(config.numLayers);
  const counts = kinds.map((kind) => `${config.layers.filter((other) => other === kind).length} ${kind}`);
  return `${config.numLayers}: ${counts.join(", ")}`;
}

function mixer(ssm: SsmGeometry | null): Fact[] {
  if (ssm === null) return [];
  const { heads, headDim, groups, stateSize, convDim, convKernel } = ssm;
  return [
    ["heads", `${heads} of ${headDim}, ${groups} group${groups === 1 ? "" : "s"}`],
    ["state size", String(stateSize)],
    convolution(convDim, convKernel),
  ];
}

function deltaNet({ keyHeads, valueHeads, keyDim, valueDim, convDim, convKernel }: GdnGeometry): Fact[] {
  return [
    ["heads", `${valueHeads} of ${valueDim}, ${keyHeads} of keys of ${keyDim}`],
    convolution(convDim, convKernel),
  ];
}

function convolution(channels: number, width: number): Fact {
  return ["convolution", `${formatCount(channels)} channels, ${width} tokens wide`];
}

function attention({ heads, kvHeads, headDim, rope }: AttentionGeometry): Fact[] {
  const positions = rope === null ? "no position encoding" : `RoPE over ${rope.rotaryDim}`;
  return [["attention", `${heads} heads of ${headDim}, ${kvHeads} of keys and values, ${positions}`]];
}

function feedForward(config: ModelConfig): Fact[] {
  const mlps = "mlps" in config ? config.mlps : "mlp" in config && config.mlp ? [config.mlp] : [];
  const sizes = [...new Set(mlps.map(({ kind, size }) => `${kind}, ${formatCount(size)} channels`))];
  const moe = "moe" in config ? config.moe : null;
  return [
    ...sizes.map((size): Fact => ["mlp", size]),
    ...(moe === null ? [] : [["experts", experts(moe)] satisfies Fact]),
  ];
}

function experts({ experts, topK, kind, size, shared, latentSize }: MoeGeometry): string {
  return [
    `${topK} of ${experts} for a token`,
    `${kind}, ${formatCount(size)} channels`,
    ...(shared === null ? [] : [`one of ${formatCount(shared.size)} for all`]),
    ...(latentSize === null ? [] : [`between latent rows of ${formatCount(latentSize)}`]),
  ].join(", ");
}

function weights({ weights, parameters, activeParameters }: ModelFacts): Fact[] {
  const active = activeParameters < parameters ? [`${formatMagnitude(activeParameters)} for a token`] : [];
  const counted = (count: number, notes: readonly string[]) =>
    notes.length === 0 ? formatCount(count) : `${formatCount(count)} (${notes.join(", ")})`;
  if ("error" in weights) {
    return [
      ["parameters", counted(parameters, active)],
      ["weights", `unreadable: ${weights.error}`],
    ];
  }
  const byType = Object.entries(weights.dtypes).map(([dtype, count]) => `${dtype} ${formatMagnitude(count)}`);
  return [
    ["parameters", counted(weights.parameters, [...byType, ...active])],
    ["weights", formatBytes(weights.bytes)],
  ];
}

function state({ stateBytes, hostStateBytes, kvBytesPerToken }: ModelFacts): Fact[] {
  const { float32, bfloat16 } = stateBytes;
  const forSequence = `${formatBytes(float32)} for each sequence (${formatBytes(bfloat16)} with --state-dtype bfloat16)`;
  const { auto, int8 } = hostStateBytes;
  const onHost = `${formatBytes(auto)} for each state that the prefix cache keeps there (${formatBytes(int8)} with --prefix-cache-host-dtype int8)`;
  return [
    ...(float32 === 0 ? [] : [["state", forSequence] satisfies Fact]),
    ...(float32 === 0 ? [] : [["on the host", onHost] satisfies Fact]),
    ...(kvBytesPerToken === 0 ? [] : [["kv cache", kvCache(kvBytesPerToken)] satisfies Fact]),
  ];
}

function kvCache(bytesPerToken: number): string {
  return `${formatBytes(bytesPerToken)} for each token, ${formatBytes(PAGE_SIZE * bytesPerToken)} for a page of ${PAGE_SIZE}`;
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
