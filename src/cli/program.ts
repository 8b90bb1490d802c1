import { Command } from "commander";
import { packageVersion } from "../version";
import { addBench } from "./bench";
import { addChat } from "./chat";
import { addDoctor } from "./doctor";
import { addEval } from "./eval";
import { addGenerate } from "./generate";
import { addInspect } from "./inspect";

import { addServe } from "./serve";

/** The command line; parsing it runs the command. */
export function createProgram(): Command {
  const program = new Command("mamba-serve")
    .description("Serve Mamba-2 language models, and try them out.")
    .version(packageVersion(), "-V, --version", "print the version")
    .helpOption("-h, --help", "print this help")
    .helpCommand(false)
    .showHelpAfterError("(--help lists the options)")
    .addHelpText(
      "after",
      `
Every command takes MODEL, a local directory; the bundled storyteller-6m is the default.

Example:
  mamba-serve chat
  mamba-serve serve ./my-model --port 8080`,
    );
  for (const add of [addServe, addGenerate, addChat, addInspect, addDoctor, addEval, addBench]) add(program);
  return program;
}
