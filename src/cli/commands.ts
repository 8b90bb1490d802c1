import type { Command } from "commander";

export interface CommandEntry {
  readonly description: string;
  /** Reads the command's file, and gives what adds its arguments, flags and action. */
  readonly load: () => (command: Command) => void;
}

/** What reads a command's file; each command is loaded once. */
const loads = new WeakMap<Command, () => void>();

/** All commands below one, with their flags: what completion and documentation are written from. */
export function loadAll(parent: Command): void {
  for (const command of parent.commands) {
    loads.get(command)?.();
    loadAll(command);
  }
}

/** Commands by name. Only the file of the one that is asked for is read: all of them take longer than most commands run. */
export function addCommands(parent: Command, entries: Readonly<Record<string, CommandEntry>>): void {
  for (const [name, { description, load }] of Object.entries(entries)) {
    const command = parent.command(name).description(description);
    loads.set(command, () => {
      loads.delete(command);
      load()(command);
    });
  }
  parent
    .helpCommand(false)
    // Arguments and flags of the others are not known.
    .configureHelp({ subcommandTerm: (command) => command.name() })
    .hook("preSubcommand", (_, command) => loads.get(command)?.());
}
