import type { Command } from "commander";
import { addCommands } from "./commands";

export function defineEval(group: Command): void {
  group.addHelpText("after", "\nExample:\n  mamba-serve eval perplexity book.txt");
  addCommands(group, {
    perplexity: {
      description: "Perplexity of a text: e to the mean negative log likelihood of each token, given all before it.",
      load: () => (require("./eval-perplexity") as typeof import("./eval-perplexity")).defineEvalPerplexity,
    },
  });
}
