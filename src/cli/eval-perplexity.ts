import { type Command, Option } from "commander";
import type { EngineOptions } from "../engine/policy/config";
import { BUNDLED_MODEL } from "../llm/bundled-model";
import { addEngineFlags, modelHelp, refuseDummy } from "./engine-flags";
import { printJson, renderFacts } from "./facts";
import { readTokenFile } from "./token-file";
import { formatCount, formatMeasure } from "./units";
import { withModel } from "./with-model";

interface Flags extends EngineOptions {
  readonly model: string;
  readonly tensor: string;
  readonly json?: true;
}

export function defineEvalPerplexity(command: Command): void {
  command
    .argument("<FILE>", "UTF-8 text, a .json array of token ids, or .safetensors with an I32 tensor of them")
    .option("-m, --model <MODEL>", modelHelp, BUNDLED_MODEL)
    .addOption(new Option("--tensor <name>", "tensor to read from a .safetensors file").default("perplexity_text_ids"))
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      `
Example:
  mamba-serve eval perplexity book.txt
  mamba-serve eval perplexity ids.json --model ./my-model --json`,
    );
  // Scoring computes the logits of this many tokens at a time; each also takes a sequence's state.
  addEngineFlags(command, { maxNumSeqs: 16 });
  command.action(async (file: string, flags: Flags) => {
    const content = await readTokenFile(file, flags.tensor);
    if (typeof content === "string") refuseDummy(command, flags);
    await withModel(flags.model, flags, async (llm) => {
      const ids = typeof content === "string" ? await llm.tokenize(content) : content;
      if (process.stderr.isTTY) process.stderr.write(`scoring ${formatCount(ids.length)} tokens ...`);
      const start = performance.now();
      const scores = await llm.score(ids).finally(() => process.stderr.isTTY && process.stderr.write("\r\x1b[K"));
      const seconds = (performance.now() - start) / 1000;
      const meanNll = -scores.reduce((sum, score) => sum + score, 0) / scores.length;
      const result = {
        model: llm.info.id,
        file,
        tokens: scores.length,
        meanNll,
        perplexity: Math.exp(meanNll),
        seconds,
      };
      if (flags.json) return printJson(result);
      process.stdout.write(
        renderFacts([
          [
            ["tokens", `${formatCount(result.tokens)} predicted, ${formatMeasure(result.tokens / seconds)} tokens/s`],
            ["mean negative log likelihood", meanNll.toFixed(4)],
            ["perplexity", result.perplexity.toFixed(2)],
          ],
        ]),
      );
    });
  });
}
