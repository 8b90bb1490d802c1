import { Argument, type Command } from "commander";
import { loadAll } from "./commands";
import { type CompletedCommand, type CompletedFlag, completionScripts } from "./completion-scripts";

const shells = Object.keys(completionScripts) as (keyof typeof completionScripts)[];

export function defineCompletion(command: Command): void {
  command
    .addArgument(new Argument("<shell>", "the shell that is to complete").choices(shells))
    .addHelpText(
      "after",
      `
Example:
  source <(mamba-serve completion bash)                                   # in ~/.bashrc
  source <(mamba-serve completion zsh)                                    # in ~/.zshrc, after compinit
  mamba-serve completion fish > ~/.config/fish/completions/mamba-serve.fish`,
    )
    .action((shell: keyof typeof completionScripts) => {
      const program = command.parent!;
      loadAll(program);
      process.stdout.write(completionScripts[shell](program.name(), completedCommands(program)));
    });
}

/** A command and all below it, by the words that name them: "", "serve", "bench latency". */
export function completedCommands(command: Command, words: readonly string[] = []): CompletedCommand[] {
  const own: CompletedCommand = {
    words,
    subcommands: command.commands.map((sub) => ({ name: sub.name(), description: sub.description() })),
    flags: [...command.options, ...helpOf(command)].filter(({ hidden }) => !hidden).map(flagOf),
    takesModel: command.registeredArguments.some((argument) => argument.name() === "MODEL"),
    choices: command.registeredArguments.flatMap(({ argChoices }) => argChoices ?? []),
  };
  return [own, ...command.commands.flatMap((sub) => completedCommands(sub, [...words, sub.name()]))];
}

const helpOf = (command: Command) =>
  command
    .createHelp()
    .visibleOptions(command)
    .filter(({ long }) => long === "--help");

function flagOf(option: Command["options"][number]): CompletedFlag {
  const takesValue = option.required || option.optional;
  const isPath = /<(file|path|dir)>/.test(option.flags) && option.long !== "--endpoint";
  return {
    names: [option.short, option.long].filter((name) => name !== undefined && name !== null),
    description: option.description,
    value: !takesValue ? null : option.argChoices !== undefined ? option.argChoices : isPath ? "path" : "any",
  };
}
