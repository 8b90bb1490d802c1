import type { Command } from "commander";
import { EngineError } from "../errors";
import { describeDevice as deviceText } from "../tensor/device";
import { addModelArgument } from "./engine-flags";
import { type AddonFacts, type DeviceFacts, type Environment, readEnvironment } from "./environment";
import { type Fact, printJson, renderFacts } from "./facts";
import { readModelFacts } from "./model-facts";
import { formatBytes, formatMagnitude } from "./units";

interface ModelCheck {
  readonly model: string;
  readonly path: string | null;
  readonly parameters: number | null;
  /** Everything that keeps this model from being loaded; empty where nothing does. */
  readonly errors: readonly string[];
}

export function defineDoctor(command: Command): void {
  command.option("--json", "print one JSON object").addHelpText(
    "after",
    `
Exits with 1 if the addon, the CPU device or the model cannot be used.

Example:
  mamba-serve doctor
  mamba-serve doctor ./my-model --json`,
  );
  addModelArgument(command).action(async (name: string, { json }: { json?: true }) => {
    const environment = readEnvironment();
    const model = await checkModel(name);
    const cpu = environment.devices.find(({ kind }) => kind === "cpu");
    const ok = environment.addon.error === null && cpu?.error === null && model.errors.length === 0;
    if (json) printJson({ ok, ...environment, model });
    else process.stdout.write(renderFacts(groups(environment, model, ok)));
    if (!ok) process.exitCode = 1;
  });
}

async function checkModel(model: string): Promise<ModelCheck> {
  try {
    const { path, weights, tokenizer } = await readModelFacts(model);
    const errors = [weights, tokenizer].flatMap((part) => ("error" in part ? [part.error] : []));
    return { model, path, parameters: "error" in weights ? null : weights.parameters, errors };
  } catch (error) {
    if (EngineError.is(error)) return { model, path: null, parameters: null, errors: [error.message] };
    throw error;
  }
}

function groups(environment: Environment, model: ModelCheck, ok: boolean): Fact[][] {
  const { version, commit, cpu, memory, addon, devices, variables } = environment;
  const flags = Object.entries(cpu.flags).map(([flag, present]) => (present ? flag : `no ${flag}`));
  const cores = cpu.usableCores === cpu.cores ? `${cpu.cores} cores` : `${cpu.usableCores} of ${cpu.cores} cores`;
  return [
    [
      ["mamba-serve", commit === null ? version : `${version} (${commit})`],
      ["node", environment.node],
      ["system", environment.os],
      ["libc", environment.libc],
      ["cpu", `${cpu.model}, ${cores}`],
      ["cpu flags", flags.join(", ")],
      ["memory", `${formatBytes(memory.total)}, ${formatBytes(memory.free)} free`],
      ...Object.entries(variables).map(([name, value]): Fact => [name, value]),
    ],
    [
      ["addon", describeAddon(addon)],
      ...devices.map((device): Fact => [device.kind, describeDevice(device)]),
      ...(devices.length === 0 ? [] : [["auto", describeChoice(devices)] satisfies Fact]),
    ],
    [["model", describeModel(model)]],
    [["result", ok ? "everything needed works" : "something needed does not work, see FAILED above"]],
  ];
}

function describeAddon({ path, error }: AddonFacts): string[] {
  if (error === null) return [`ok, ${path}`];
  return [`FAILED, ${path ?? "no file"}`, ...error.split("\n")];
}

function describeDevice({ description, error }: DeviceFacts): string {
  if (description !== null) return `ok, ${deviceText(description)}`;
  if (error?.code === "ERR_NOT_BUILT") return "not built";
  return error?.code === "ERR_NO_DEVICE" ? `not to be used: ${error.message}` : `FAILED, ${error?.message}`;
}

/** What --device auto takes, and why. */
function describeChoice(devices: readonly DeviceFacts[]): string {
  const chosen = devices.find(({ error }) => error === null);
  const kinds = devices.map(({ kind }) => kind).join(", ");
  return chosen === undefined ? `none of ${kinds} works` : `${chosen.kind}, the first of ${kinds} that works`;
}

function describeModel({ model, path, parameters, errors }: ModelCheck): string[] {
  if (errors.length > 0) return [`FAILED, ${path ?? model}`, ...errors];
  return [`ok, ${path}, ${formatMagnitude(parameters ?? 0)} parameters`];
}
