import type { Command } from "commander";

export interface CommandEntry {
  readonly description: string;
  /** Reads the command's file, and gives what adds its arguments, flags and action. */
  readonly load: () => (command: Command) => void;
}

/** Commands by name. Only the file of the one that is asked for is read: all of them take longer than most commands run. */
export function addCommands(parent: Command, entries: Readonly<Record<string, CommandEntry>>): void {
  for (const [name, { description }] of Object.entries(entries)) parent.command(name).description(description);
  parent
    .helpCommand(false)
    // Arguments and flags of the others are not known.
    .configureHelp({ subcommandTerm: (command) => command.name() })
    .hook("preSubcommand", (_, command) => entries[command.name()]!.load()(command));
}
