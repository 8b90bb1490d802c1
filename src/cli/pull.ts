import { type Command, InvalidArgumentError } from "commander";
import { type HubModel, parseHubModel } from "../hub/cache";
import { type Pulled, pull } from "../hub/pull";
import { printJson } from "./facts";
import { ProgressBar } from "./progress";
import { formatBytes } from "./units";

export function definePull(command: Command): void {
  command
    .argument(
      "<NAME>",
      "org/name, org/name@revision (a branch, a tag or a commit), or org/name:TAG of a file in GGUF",
      hubModel,
    )
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      `
Files go to the cache that huggingface_hub uses (HF_HOME, HF_HUB_CACHE), and are checked against the sums that the hub lists.
HF_TOKEN, or the token of \`hf auth login\`, opens private and gated models; HF_ENDPOINT names another hub. A download that was
interrupted goes on where it was. TAG is what tells a file in GGUF from the others, mostly its quantization.

Example:
  mamba-serve pull ibm-granite/granite-4.0-h-tiny
  mamba-serve serve ibm-granite/granite-4.0-h-tiny`,
    )
    .action(async (model: HubModel, { json }: { json?: true }) => {
      const pulled = await pullWithProgress(model);
      if (json) printJson(pulled);
      else process.stdout.write(`${pulled.path}\n`);
    });
}

function hubModel(text: string): HubModel {
  const model = parseHubModel(text);
  if (model === null) throw new InvalidArgumentError("Expected a name as org/name, org/name@revision or org/name:TAG.");
  return model;
}

/** What is done, and what came, goes to stderr. */
export async function pullWithProgress(model: HubModel): Promise<Pulled> {
  const progress = new ProgressBar(`pulling ${model.name}`);
  try {
    const pulled = await pull(model, { onProgress: (bytes, total) => progress.update(bytes, total) });
    progress.end();
    const fetched = pulled.fetchedBytes === 0 ? "nothing new" : formatBytes(pulled.fetchedBytes);
    process.stderr.write(`note: ${model.name} (${model.revision}, ${pulled.commit.slice(0, 12)}): ${fetched}\n`);
    return pulled;
  } finally {
    progress.end();
  }
}
