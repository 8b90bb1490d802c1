import { readFileSync } from "node:fs";
import { type Command, InvalidArgumentError, type Option } from "commander";
import { EngineError } from "../errors";
import { isList } from "./lists";

const prefix = "MAMBA_SERVE_";
/** Flags that are about settings and are none themselves. */
const own = ["--config", "--print-config", "--help"];
const secret = new Set(["api-key"]);

const variable = (name: string) => prefix + name.toUpperCase().replaceAll("-", "_");

/**
 * Lets every flag of a command, and its MODEL, also come from the environment and from a file. Call it after the last flag; the
 * action then finds the result in its flags. A flag wins over the environment, that over the file, that over the default.
 */
export function addSettings(command: Command): void {
  command
    .option("--config <file>", 'flags as JSON, {"port": 8080}; lists for those that may be given several times')
    .option("--print-config", "print the settings in effect and where each comes from, and exit")
    .addHelpText(
      "after",
      `
Every flag can also be set in the environment, --max-num-seqs as ${variable("max-num-seqs")} and MODEL as ${variable("model")}
(several values with commas), or in the file of --config.`,
    )
    .hook("preAction", () => applySettings(command));
}

/** The settings in effect, for people to read: by flag, with where they come from; secrets are masked. */
export function describeSettings(command: Command): Record<string, { value: unknown; from: string }> {
  const entries = settable(command).flatMap((option) => {
    const given: unknown = command.getOptionValue(option.attributeName());
    if (given === undefined) return [];
    const value = option.negate ? !given : given;
    const from = command.getOptionValueSource(option.attributeName()) ?? "default";
    return [[option.name(), { value: secret.has(option.name()) ? "***" : value, from }] as const];
  });
  const model = { value: command.processedArgs[0] as unknown, from: modelSource.get(command) ?? "default" };
  return { model, ...Object.fromEntries(entries) };
}

const modelSource = new WeakMap<Command, string>();

const settable = (command: Command) => command.options.filter(({ long }) => long != null && !own.includes(long));

function applySettings(command: Command): void {
  const file = (command.getOptionValue("config") as string | undefined) ?? process.env[variable("config")];
  const fromFile = file === undefined ? {} : readSettings(file);
  const options = settable(command);
  const known = new Set(["model", ...options.map((option) => option.name())]);
  for (const key of Object.keys(fromFile)) {
    if (known.has(key)) continue;
    throw settingError(`${file}: "${key}" is no setting; settings have the names of flags, as "port"`);
  }

  const variables = new Set([...["config", "addon", "cpu-isa"], ...known].map(variable));
  for (const name of Object.keys(process.env)) {
    if (!name.startsWith(prefix) || variables.has(name)) continue;
    process.stderr.write(`note: the environment has ${name}, which is no setting of ${command.name()}\n`);
  }

  for (const option of options) {
    const name = option.name();
    const text = process.env[variable(name)];
    if (command.getOptionValueSource(option.attributeName()) === "cli") continue;
    if (text !== undefined) {
      const values = isList(option) ? text.split(",") : text;
      command.setOptionValueWithSource(option.attributeName(), parse(option, values, variable(name)), variable(name));
    } else if (Object.hasOwn(fromFile, name)) {
      const value = parse(option, fromFile[name], `${file}: "${name}"`);
      command.setOptionValueWithSource(option.attributeName(), value, file);
    }
  }

  const model = process.env[variable("model")] ?? fromFile.model;
  if (command.args.length > 0) modelSource.set(command, "cli");
  else if (model !== undefined) {
    if (typeof model !== "string") throw settingError(`${file}: "model" must be a string`);
    command.processedArgs[0] = model;
    modelSource.set(command, process.env[variable("model")] === undefined ? file! : variable("model"));
  }
}

function readSettings(file: string): Record<string, unknown> {
  let settings: unknown;
  try {
    settings = JSON.parse(readFileSync(file, "utf8"));
  } catch (error) {
    throw new EngineError("ERR_IO", `--config: ${file}: ${(error as Error).message}`, { subject: file, cause: error });
  }
  if (typeof settings === "object" && settings !== null && !Array.isArray(settings)) {
    return settings as Record<string, unknown>;
  }
  throw settingError(`${file}: expected a JSON object of flags, as {"port": 8080}`);
}

/** The value as the flag's own parser makes it from text. `where` names the setting in errors. */
function parse(option: Option, value: unknown, where: string): unknown {
  if (option.isBoolean() || option.negate) {
    if (![true, false, "true", "false", "1", "0"].includes(value as string)) {
      throw settingError(`${where}: expected true or false, got ${JSON.stringify(value)}`);
    }
    const given = value === true || value === "true" || value === "1";
    return option.negate ? !given : given;
  }
  const isOfList = isList(option);
  const texts = (isOfList ? [value].flat() : [value]).map((item) => {
    if (typeof item === "string" || typeof item === "number") return String(item);
    throw settingError(`${where}: expected ${isOfList ? "a string or a list of strings" : "a string or a number"}`);
  });
  try {
    const { parseArg } = option;
    if (parseArg === undefined) return texts[0];
    return texts.reduce<unknown>((earlier, text) => parseArg(text, earlier), undefined);
  } catch (error) {
    if (!(error instanceof InvalidArgumentError)) throw error;
    throw settingError(`${where}: ${JSON.stringify(texts.join(","))} is invalid. ${error.message}`);
  }
}

function settingError(message: string): EngineError {
  return new EngineError("ERR_REQUEST", message, { subject: "config" });
}
