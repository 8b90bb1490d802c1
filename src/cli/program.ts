import { Command } from "commander";
import { packageVersion } from "../version";
import { addCommands } from "./commands";

/** The command line; parsing it runs the command. */
export function createProgram(): Command {
  const program = new Command("mamba-serve")
    .description("Serve Mamba-2 language models, and try them out.")
    .version(packageVersion(), "-V, --version", "print the version")
    .helpOption("-h, --help", "print this help")
    .showHelpAfterError("(--help lists the options)")
    .addHelpText(
      "after",
      `
Commands take MODEL, a directory, a file in GGUF, or org/name of a model on the Hugging Face hub; the bundled storyteller-6m is the default.

Example:
  mamba-serve chat
  mamba-serve serve ./my-model --port 8080`,
    );
  addCommands(program, {
    serve: {
      description: "Serve a model over HTTP, with OpenAI's API.",
      load: () => (require("./serve") as typeof import("./serve")).defineServe,
    },
    generate: {
      description: "Continue a text.",
      load: () => (require("./generate") as typeof import("./generate")).defineGenerate,
    },
    chat: {
      description: "Talk with a model.",
      load: () => (require("./chat") as typeof import("./chat")).defineChat,
    },
    pull: {
      description: "Download a model from the Hugging Face hub.",
      load: () => (require("./pull") as typeof import("./pull")).definePull,
    },
    inspect: {
      description: "Describe a model without loading its weights.",
      load: () => (require("./inspect") as typeof import("./inspect")).defineInspect,
    },
    doctor: {
      description: "Check this installation, and print what a bug report needs.",
      load: () => (require("./doctor") as typeof import("./doctor")).defineDoctor,
    },
    build: {
      description: "Compile the native addon from the sources in this package.",
      load: () => (require("./build") as typeof import("./build")).defineBuild,
    },
    completion: {
      description: "Print what completes this program's commands and flags in a shell.",
      load: () => (require("./completion") as typeof import("./completion")).defineCompletion,
    },
    eval: {
      description: "Measure how well a model predicts.",
      load: () => (require("./eval") as typeof import("./eval")).defineEval,
    },
    bench: {
      description: "Measure servers, the engine, whole steps and kernels.",
      load: () => (require("./bench") as typeof import("./bench")).defineBench,
    },
  });
  return program;
}
