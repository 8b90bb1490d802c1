import { type Command, Option } from "commander";
import type { EngineOptions } from "../engine/policy/config";
import { BUNDLED_MODEL } from "../llm/bundled-model";
import type { LLM } from "../llm/llm";
import { addEngineFlags, modelHelp, refuseDummy } from "./engine-flags";
import { printJson, renderFacts } from "./facts";
import { formatList, formats, renderFormats, type Scored } from "./perplexity-formats";
import { readTokenFile } from "./token-file";
import { formatCount, formatMeasure } from "./units";
import { withModel } from "./with-model";

interface Flags extends EngineOptions {
  readonly model: string;
  readonly tensor: string;
  readonly compare?: readonly string[];
  readonly json?: true;
}

export function defineEvalPerplexity(command: Command): void {
  command
    .argument("<FILE>", "UTF-8 text, a .json array of token ids, or .safetensors with an I32 tensor of them")
    .option("-m, --model <MODEL>", modelHelp, BUNDLED_MODEL)
    .addOption(new Option("--tensor <name>", "tensor to read from a .safetensors file").default("perplexity_text_ids"))
    .option("--compare <formats>", `score it in these too, or in all: ${Object.keys(formats).join(", ")}`, formatList)
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      `
Example:
  mamba-serve eval perplexity book.txt
  mamba-serve eval perplexity ids.json --model ./my-model --json
  mamba-serve eval perplexity book.txt --compare int8,int4,state-bfloat16`,
    );
  // Scoring computes the logits of this many tokens at a time; each also takes a sequence's state.
  addEngineFlags(command, { maxNumSeqs: 16 });
  command.action(async (file: string, flags: Flags) => {
    const content = await readTokenFile(file, flags.tensor);
    if (typeof content === "string") refuseDummy(command, flags);
    const scored: Scored[] = [];
    const facts = { model: "", tokens: 0 };
    for (const format of ["as given", ...(flags.compare ?? [])]) {
      await withModel(flags.model, { ...flags, ...formats[format] }, async (llm) => {
        const ids = typeof content === "string" ? await llm.tokenize(content) : content;
        const { meanNll, seconds } = await score(llm, ids);
        const perplexity = Math.exp(meanNll);
        const more = perplexity / (scored[0]?.perplexity ?? perplexity) - 1;
        scored.push({ format, meanNll, perplexity, seconds, more });
        Object.assign(facts, { model: llm.info.id, tokens: ids.length - 1 });
      });
    }
    const [{ meanNll, perplexity, seconds }] = scored as [Scored];
    if (flags.json) {
      const others = flags.compare && { formats: scored.slice(1) };
      return printJson({ model: facts.model, file, tokens: facts.tokens, meanNll, perplexity, seconds, ...others });
    }
    if (flags.compare) process.stdout.write(renderFormats(scored, facts.tokens));
    else {
      process.stdout.write(
        renderFacts([
          [
            ["tokens", `${formatCount(facts.tokens)} predicted, ${formatMeasure(facts.tokens / seconds)} tokens/s`],
            ["mean negative log likelihood", meanNll.toFixed(4)],
            ["perplexity", perplexity.toFixed(2)],
          ],
        ]),
      );
    }
  });
}

async function score(llm: LLM, ids: readonly number[]): Promise<{ meanNll: number; seconds: number }> {
  if (process.stderr.isTTY) process.stderr.write(`scoring ${formatCount(ids.length)} tokens ...`);
  const start = performance.now();
  const scores = await llm.score(ids).finally(() => process.stderr.isTTY && process.stderr.write("\r\x1b[K"));
  const seconds = (performance.now() - start) / 1000;
  return { meanNll: -scores.reduce((sum, value) => sum + value, 0) / scores.length, seconds };
}
