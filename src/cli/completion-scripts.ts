/** What makes shells complete a program, from its commands. */

export interface CompletedFlag {
  /** As "-V", "--version". */
  readonly names: readonly string[];
  readonly description: string;
  /** What it takes: nothing, a path, one of these, or something else. */
  readonly value: null | "path" | "any" | readonly string[];
}

export interface CompletedCommand {
  /** The words that name it; none for the program itself. */
  readonly words: readonly string[];
  readonly subcommands: readonly { readonly name: string; readonly description: string }[];
  readonly flags: readonly CompletedFlag[];
  /** Whether it takes a model: a directory, or a name that is not known here. */
  readonly takesModel: boolean;
  /** What its arguments may be. */
  readonly choices: readonly string[];
}

export const completionScripts = { bash: toBash, zsh: toZsh, fish: toFish };

const quoted = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;
const pathOf = ({ words }: CompletedCommand) => words.join(" ");

/** The command's words are collected in `named`; a flag's value is completed by them and the flag. */
function toBash(program: string, commands: readonly CompletedCommand[]): string {
  const values = commands.flatMap((command) =>
    command.flags.flatMap(({ names, value }) => {
      if (value === null) return [];
      const pattern = names.map((name) => quoted(`${pathOf(command)} ${name}`)).join(" | ");
      if (value === "any") return [`    ${pattern}) return ;;`];
      const made = value === "path" ? "-f" : `-W ${quoted(value.join(" "))}`;
      return [`    ${pattern}) COMPREPLY=($(compgen ${made} -- "$cur")); return ;;`];
    }),
  );
  const words = commands.map((command) => {
    const flags = command.flags.flatMap(({ names }) => names.filter((name) => name.startsWith("--")));
    const others = [...command.subcommands.map(({ name }) => name), ...command.choices];
    const models = command.takesModel ? `COMPREPLY=($(compgen -d -- "$cur"))` : "";
    const operands = others.length > 0 ? `COMPREPLY=($(compgen -W ${quoted(others.join(" "))} -- "$cur"))` : models;
    return `    ${quoted(pathOf(command))})
      if [[ $cur == -* ]]; then COMPREPLY=($(compgen -W ${quoted(flags.join(" "))} -- "$cur"))
      else ${operands || ":"}; fi ;;`;
  });
  const paths = commands.filter(({ words: { length } }) => length > 0).map((command) => quoted(pathOf(command)));
  return `# Completes ${program} in bash: source <(${program} completion bash)
_${identifier(program)}() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD - 1]} named= word i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="\${named:+$named }\${COMP_WORDS[i]}"
    case $word in
      ${paths.join(" | ")}) named=$word ;;
    esac
  done
  # Bash takes --flag=value for three words.
  if [[ $cur == = ]]; then cur=
  elif [[ $prev == = ]]; then prev=\${COMP_WORDS[COMP_CWORD - 2]}
  fi
  case "$named $prev" in
${values.join("\n")}
  esac
  case $named in
${words.join("\n")}
  esac
}
complete -o filenames -F _${identifier(program)} ${program}
`;
}

function toZsh(program: string, commands: readonly CompletedCommand[]): string {
  const escaped = (text: string) => text.replace(/[\\[\]:]/g, "\\$&");
  const actionOf = (value: CompletedFlag["value"]) => {
    if (value === null) return "";
    return value === "path" ? ":path:_files" : `:value:${value === "any" ? " " : `(${value.join(" ")})`}`;
  };
  const cases = commands.map((command) => {
    const flags = command.flags.flatMap(({ names, description, value }) =>
      names.map((name) => {
        const separator = value !== null && name.startsWith("--") ? "=" : "";
        return quoted(`*${name}${separator}[${escaped(description)}]${actionOf(value)}`);
      }),
    );
    const subcommands = command.subcommands.map(({ name, description }) => quoted(`${name}:${escaped(description)}`));
    const operand = command.takesModel
      ? [`'*:model:_path_files -/'`]
      : command.choices.length > 0
        ? [quoted(`1:choice:(${command.choices.join(" ")})`)]
        : [];
    const describe = subcommands.length > 0 ? `    subcommands=(${subcommands.join(" ")})\n` : "";
    return `  ${quoted(pathOf(command))})\n${describe}    flags=(${[...flags, ...operand].join("\n      ")}) ;;`;
  });
  const paths = commands.filter(({ words: { length } }) => length > 0).map((command) => quoted(pathOf(command)));
  const name = `_${identifier(program)}`;
  return `#compdef ${program}
# Completes ${program} in zsh: source <(${program} completion zsh)
${name}() {
  local named= word
  local -a subcommands flags
  integer i used=1
  for ((i = 2; i < CURRENT; i++)); do
    word="\${named:+$named }\${words[i]}"
    case $word in
      (${paths.join("|")}) named=$word; used=$i ;;
    esac
  done
  case $named in
${cases.join("\n")}
  esac
  if ((\${#subcommands})) && [[ \${words[CURRENT]} != -* ]]; then
    _describe command subcommands
    return
  fi
  # The words that name the command are no arguments of it.
  words=("\${words[used]}" "\${(@)words[used + 1, -1]}")
  ((CURRENT -= used - 1))
  _arguments "\${flags[@]}"
}
compdef ${name} ${program}
`;
}

function toFish(program: string, commands: readonly CompletedCommand[]): string {
  const name = `__${identifier(program)}_is`;
  const lines = commands.flatMap((command) => {
    const head = `complete -c ${program} -n ${quoted(`${name} ${quoted(pathOf(command))}`)}`;
    const flags = command.flags.map(({ names, description, value }) => {
      const spelt = names.map((flag) => (flag.startsWith("--") ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`));
      const takes =
        value === null
          ? ""
          : value === "path"
            ? " -r -F"
            : value === "any"
              ? " -x"
              : ` -x -a ${quoted(value.join(" "))}`;
      return `${head} ${spelt.join(" ")}${takes} -d ${quoted(description)}`;
    });
    const subcommands = command.subcommands.map(
      (sub) => `${head} -f -a ${quoted(sub.name)} -d ${quoted(sub.description)}`,
    );
    const choices = command.choices.length > 0 ? [`${head} -f -a ${quoted(command.choices.join(" "))}`] : [];
    const models = command.takesModel ? [`${head} -f -a '(__fish_complete_directories)'`] : [];
    return [...subcommands, ...choices, ...models, ...flags];
  });
  const paths = commands.filter(({ words: { length } }) => length > 0).map((command) => quoted(pathOf(command)));
  return `# Completes ${program} in fish.
function ${name}
  set -l named ''
  for word in (commandline -opc)[2..]
    set -l longer (string trim "$named $word")
    contains -- $longer ${paths.join(" ")}; and set named $longer
  end
  test "$named" = "$argv[1]"
end
complete -c ${program} -f
${lines.join("\n")}
`;
}

const identifier = (program: string) => program.replace(/\W/g, "_");
