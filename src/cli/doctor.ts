import type { Command } from "commander";
import { EngineError } from "../errors";
import { defaultOptions } from "../server/options";
import { describeDevice as deviceText } from "../tensor/device";
import { addModelArgument } from "./engine-flags";
import { type AddonFacts, type DeviceFacts, type Environment, readEnvironment } from "./environment";
import { type Fact, printJson, renderFacts } from "./facts";
import { type Limits, type PortFacts, readLimits, tryPort } from "./limits";
import { readModelFacts } from "./model-facts";
import { formatBytes, formatMagnitude } from "./units";

const DEFAULT_PORT = 8000;
/** Descriptors beside those of connections: of the model's files, of pipes and of what Node opens. */
const OTHER_FILES = 256;

interface ModelCheck {
  readonly model: string;
  readonly path: string | null;
  readonly parameters: number | null;
  /** What a sequence takes, and each that the prefix cache keeps. */
  readonly stateBytes: number | null;
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
    const [limits, port] = [readLimits(), await tryPort(DEFAULT_PORT)];
    const cpu = environment.devices.find(({ kind }) => kind === "cpu");
    const ok = environment.addon.error === null && cpu?.error === null && model.errors.length === 0;
    if (json) printJson({ ok, ...environment, limits, port, model });
    else process.stdout.write(renderFacts(groups(environment, describeSystem(limits, port), model, ok)));
    if (!ok) process.exitCode = 1;
  });
}

async function checkModel(model: string): Promise<ModelCheck> {
  try {
    const { path, weights, tokenizer, stateBytes } = await readModelFacts(model);
    const errors = [weights, tokenizer].flatMap((part) => ("error" in part ? [part.error] : []));
    const parameters = "error" in weights ? null : weights.parameters;
    return { model, path, parameters, stateBytes: stateBytes.float32, errors };
  } catch (error) {
    if (EngineError.is(error))
      return { model, path: null, parameters: null, stateBytes: null, errors: [error.message] };
    throw error;
  }
}

function groups(environment: Environment, system: Fact[], model: ModelCheck, ok: boolean): Fact[][] {
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
      ...system,
      ...Object.entries(variables).map(([name, value]): Fact => [name, value]),
    ],
    [
      ["addon", describeAddon(addon)],
      ...devices.map((device): Fact => [device.kind, describeDevice(device)]),
      ...(devices.length === 0 ? [] : [["auto", describeChoice(devices)] satisfies Fact]),
    ],
    [
      ["model", describeModel(model)],
      ["bits", "the same in any batch on a CPU; on a GPU with --deterministic"],
      ...(model.stateBytes === null ? [] : [["prefix cache", describePrefixes(model.stateBytes)] satisfies Fact]),
    ],
    [["result", ok ? "everything needed works" : "something needed does not work, see FAILED above"]],
  ];
}

function describeAddon({ path, error }: AddonFacts): string[] {
  if (error === null) return [`ok, ${path}`];
  return [`FAILED, ${path ?? "no file"}`, ...error.split("\n")];
}

function describeDevice({ description, products, error }: DeviceFacts): string {
  if (description !== null) return `ok, ${deviceText(description)}, matrix products by ${products}`;
  if (error?.code === "ERR_NOT_BUILT") return "not built";
  return error?.code === "ERR_NO_DEVICE" ? `not to be used: ${error.message}` : `FAILED, ${error?.message}`;
}

/** A limit that is low for a server with its default flags is said to be. */
function describeSystem(limits: Limits | null, { port, error }: PortFacts): Fact[] {
  const facts: Fact[] = [
    [`port ${port}`, error === null ? "free" : `not free (${error}); serve takes another with --port`],
  ];
  if (limits === null) return facts;
  const { openFiles, processes, lockedMemoryBytes } = limits;
  const wanted = defaultOptions.maxConnections + OTHER_FILES;
  const isFew = openFiles !== null && openFiles < wanted;
  const files =
    openFiles === null
      ? "no limit"
      : `${openFiles}${isFew ? `, few for ${defaultOptions.maxConnections} connections: ulimit -n ${wanted}` : ""}`;
  return [
    ...facts,
    ["open files", files],
    ["processes", processes === null ? "no limit" : String(processes)],
    ["locked memory", lockedMemoryBytes === null ? "no limit" : formatBytes(lockedMemoryBytes)],
  ];
}

function describePrefixes(stateBytes: number): string {
  return `states of ${formatBytes(stateBytes)} on the device; --prefix-cache-host-memory adds the host's memory, as integers of 8 bits with --prefix-cache-host-dtype int8; --no-prefix-cache turns it off`;
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
