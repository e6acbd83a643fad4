import {
  type ArgumentRow,
  type Completion,
  flagsOf,
  globalOptions,
  type NamedRow,
  type OptionRow,
  subcommandsOf,
} from "./table.ts";

/** What completes a position: fixed words, something to look up, or null for anything. */
type Place = readonly string[] | Exclude<Completion, readonly string[] | "commands"> | null;

interface OptionSpec {
  /** Such as `-h` and `--help`. */
  readonly flags: readonly string[];
  readonly description: string;
  readonly takesValue: boolean;
  readonly value: Place;
}

interface CommandSpec {
  /** Such as `issue create`; the program itself is the empty path. */
  readonly path: string;
  readonly description: string;
  /** Its own options; those of the program belong to every command. */
  readonly options: readonly OptionSpec[];
  readonly positions: readonly Place[];
  /** Whether the last position repeats. */
  readonly variadic: boolean;
}

/** The script that completes the commands of `rows` in `shell`. */
export function scriptOf(shell: string, rows: readonly NamedRow[]): string {
  const specs = commandSpecs(rows);
  if (shell === "fish") return fishScript(specs);
  return shell === "bash" ? bashScript(specs) : zshScript(specs);
}

/** Every command with what it takes; the program is the first. */
function commandSpecs(rows: readonly NamedRow[]): CommandSpec[] {
  const topics = [...rows.map(({ name }) => name), "exit-codes"];
  const placeOf = ({ choices, completion }: ArgumentRow | OptionRow): Place =>
    choices ?? (completion === "commands" ? topics : (completion ?? null));
  const optionSpec = (one: OptionRow): OptionSpec => ({
    flags: flagsOf(one)
      .split(/,? /)
      .filter((flag) => flag.startsWith("-")),
    description: one.summary,
    takesValue: one.value !== undefined,
    value: placeOf(one),
  });
  const walk = (one: NamedRow, above: string): CommandSpec[] => {
    const path = `${above} ${one.name}`.trim();
    const { arguments: positional = [], options = [] } = one;
    const spec = {
      path,
      description: one.summary,
      options: options.filter(({ hidden }) => !hidden).map(optionSpec),
      positions: positional.map(placeOf),
      variadic: positional.at(-1)?.repeats === true,
    };
    return [spec, ...subcommandsOf(one).flatMap((below) => walk(below, path))];
  };
  const program = {
    path: "",
    description: "",
    options: globalOptions.map(optionSpec),
    positions: [],
    variadic: false,
  };
  return [program, ...rows.flatMap((one) => walk(one, ""))];
}

/** The script that `eval "$(symphony completion bash)"` runs. */
function bashScript(specs: readonly CommandSpec[]): string {
  return `# bash completion for symphony\n${tables(specs)}${bashFront}`;
}

/** The script for zsh, to be sourced or put on the fpath as _symphony. */
function zshScript(specs: readonly CommandSpec[]): string {
  return `#compdef symphony\n${tables(specs)}${zshFront}`;
}

/** The commands and options as functions for both shells: a line is a word, a tab and its meaning. */
function tables(specs: readonly CommandSpec[]): string {
  const below = (path: string) =>
    specs.filter((one) => one.path !== "" && parentOf(one.path) === path);
  const named = specs.filter(({ path }) => path !== "");
  const shared = specs.find(({ path }) => path === "")?.options ?? [];
  return `
__symphony_is_command() {
  case "$1" in
    ${named.map(({ path }) => quoted(path)).join(" | ")}) return 0 ;;
  esac
  return 1
}

__symphony_commands() {
  case "$1" in
${cases(specs, ({ path }) => below(path).map((one) => line(nameOf(one.path), one.description)))}
  esac
}

__symphony_options() {
  case "$1" in
${cases(named, ({ options }) => options.flatMap(optionLines))}
  esac
  printf '%s\\n' ${shared.flatMap(optionLines).map(quoted).join(" ")}
}

# The values of option $2 of command $1; fails where it takes none.
__symphony_values() {
  case "$1 $2" in
${named.flatMap(valueCases).join("\n")}
${valueCases({ path: "*", options: shared }).join("\n")}
    *) return 1 ;;
  esac
}

# What completes position $2, from 0, of command $1.
__symphony_position() {
  case "$1 $2" in
${specs.flatMap(positionCases).join("\n")}
  esac
}
${parser}`;
}

/** Finds the command in the words before the cursor, how many operands follow it, and an option that waits for its value. */
const parser = `
__symphony_parse() {
  __symphony_path= __symphony_count=0 __symphony_pending=
  local word
  for word in "$@"; do
    if [ -n "$__symphony_pending" ]; then
      [ "$word" = "=" ] || __symphony_pending=
      continue
    fi
    case "$word" in
      -*) if __symphony_values "$__symphony_path" "$word" > /dev/null; then __symphony_pending=$word; fi ;;
      *)
        if [ "$__symphony_count" = 0 ] && __symphony_is_command "\${__symphony_path:+$__symphony_path }$word"; then
          __symphony_path="\${__symphony_path:+$__symphony_path }$word"
        else
          __symphony_count=$((__symphony_count + 1))
        fi ;;
    esac
  done
}

# Every completion at the cursor, after $1 has been typed.
__symphony_lines() {
  if [ -n "$__symphony_pending" ]; then
    __symphony_values "$__symphony_path" "$__symphony_pending"
    return
  fi
  case "$1" in
    -*) __symphony_options "$__symphony_path" ;;
    *)
      [ "$__symphony_count" = 0 ] && __symphony_commands "$__symphony_path"
      __symphony_position "$__symphony_path" "$__symphony_count" ;;
  esac
}
`;

/** Words are compared and never expanded: some come from a tracker. */
const bashFront = `
__symphony_offer() {
  local word
  while IFS= read -r word; do
    [[ -n $word && $word == "$1"* ]] && COMPREPLY+=("$word")
  done
}

_symphony() {
  local cur=\${COMP_WORDS[COMP_CWORD]} line
  COMPREPLY=()
  __symphony_parse "\${COMP_WORDS[@]:1:COMP_CWORD-1}"
  [[ $cur == "=" ]] && cur=
  while IFS= read -r line; do
    case "$line" in
      @issues) __symphony_offer "$cur" < <(command symphony completion --issues 2> /dev/null) ;;
      @files) compopt -o filenames 2> /dev/null; __symphony_offer "$cur" < <(compgen -f -- "$cur") ;;
      @directories) compopt -o filenames 2> /dev/null; __symphony_offer "$cur" < <(compgen -d -- "$cur") ;;
      *) __symphony_offer "$cur" <<< "\${line%%$'\\t'*}" ;;
    esac
  done < <(__symphony_lines "$cur")
}

complete -F _symphony symphony
`;

const zshFront = `
_symphony() {
  local line cur="\${words[CURRENT]}"
  local -a offered
  __symphony_parse "\${(@)words[2,CURRENT-1]}"
  while IFS= read -r line; do
    case "$line" in
      @issues) compadd -- "\${(@f)$(command symphony completion --issues 2> /dev/null)}" ;;
      @files) _files ;;
      @directories) _files -/ ;;
      *$'\\t'*) offered+=("\${\${line%%$'\\t'*}//:/\\\\:}:\${line#*$'\\t'}") ;;
      *) offered+=("\${line//:/\\\\:}") ;;
    esac
  done < <(__symphony_lines "$cur")
  (( \${#offered} )) && _describe symphony offered
  return 0
}

if [ "\${funcstack[1]}" = "_symphony" ]; then _symphony "$@"; else compdef _symphony symphony; fi
`;

function cases(
  specs: readonly CommandSpec[],
  linesOf: (spec: CommandSpec) => readonly string[],
): string {
  return specs
    .flatMap((spec) => {
      const lines = linesOf(spec);
      return lines.length === 0 ? [] : [branch(quoted(spec.path), lines)];
    })
    .join("\n");
}

function valueCases({ path, options }: Pick<CommandSpec, "path" | "options">): string[] {
  return options.flatMap(({ flags, takesValue, value }) =>
    !takesValue
      ? []
      : [
          branch(
            flags
              .map((flag) => (path === "*" ? `*${quoted(` ${flag}`)}` : quoted(`${path} ${flag}`)))
              .join(" | "),
            linesIn(value),
          ),
        ],
  );
}

function positionCases({ path, positions, variadic }: CommandSpec): string[] {
  return positions.flatMap((place, index) => {
    const lines = linesIn(place);
    const repeats = variadic && index === positions.length - 1;
    const at = quoted(`${path} ${repeats ? "" : index}`);
    return lines.length === 0 ? [] : [branch(repeats ? `${at}*` : at, lines)];
  });
}

function branch(pattern: string, lines: readonly string[]): string {
  const body = lines.length === 0 ? ":" : `printf '%s\\n' ${lines.map(quoted).join(" ")}`;
  return `    ${pattern}) ${body} ;;`;
}

function linesIn(place: Place): readonly string[] {
  if (typeof place !== "string") return place ?? [];
  return [`@${place}`];
}

function optionLines({ flags, description }: OptionSpec): string[] {
  return flags.map((flag) => line(flag, description));
}

function line(word: string, meaning: string): string {
  return `${word}\t${meaning.replaceAll(/\s+/g, " ")}`;
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function parentOf(path: string): string {
  return path.split(" ").slice(0, -1).join(" ");
}

function nameOf(path: string): string {
  return path.split(" ").at(-1) ?? path;
}

/** The script for fish, to be sourced or put into its directory of completions. */
function fishScript(specs: readonly CommandSpec[]): string {
  const named = specs.filter(({ path }) => path !== "");
  const valued = specs.flatMap(({ path, options }) =>
    options.flatMap(({ flags, takesValue }) =>
      !takesValue ? [] : flags.map((flag) => `${path || "*"} ${flag}`),
    ),
  );
  return `# fish completion for symphony
set -g __symphony_commands ${named.map(({ path }) => fishQuoted(path)).join(" ")}
set -g __symphony_valued ${valued.map(fishQuoted).join(" ")}
${state}
complete -c symphony -f
${specs.flatMap((spec) => [...subcommands(spec, named), ...options(spec), ...positions(spec)]).join("\n")}
`;
}

/** Succeeds when the cursor is in command $argv[1], and after $argv[2] operands of it where that is given. */
const state = `
function __symphony_at
    set -l words (commandline -opc)
    set -l path ''
    set -l count 0
    set -l pending 0
    for word in $words[2..]
        if test $pending = 1
            set pending 0
        else if string match -q -- '-*' $word
            if contains -- "$path $word" $__symphony_valued; or contains -- "* $word" $__symphony_valued
                set pending 1
            end
        else if test $count = 0; and contains -- (string trim -- "$path $word") $__symphony_commands
            set path (string trim -- "$path $word")
        else
            set count (math $count + 1)
        end
    end
    test "$path" = "$argv[1]"; or return 1
    set -q argv[2]; or return 0
    string match -q -- "$argv[2]" $count
end
`;

function subcommands({ path }: CommandSpec, named: readonly CommandSpec[]): string[] {
  const below = named.filter((one) => one.path.split(" ").slice(0, -1).join(" ") === path);
  return below.map((one) => {
    const name = one.path.split(" ").at(-1) ?? "";
    return `complete -c symphony -n ${at(path, "0")} -a ${fishQuoted(name)} -d ${fishQuoted(one.description)}`;
  });
}

function options({ path, options: all }: CommandSpec): string[] {
  return all.map(({ flags, description, takesValue, value }: OptionSpec) => {
    const names = flags.map((flag) =>
      flag.startsWith("--") ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`,
    );
    const given = !takesValue ? "" : ` ${valueFlags(value)}`;
    const where = path === "" ? "" : `-n ${at(path)} `;
    return `complete -c symphony ${where}${names.join(" ")}${given} -d ${fishQuoted(description)}`;
  });
}

function positions({ path, positions: all, variadic }: CommandSpec): string[] {
  return all.flatMap((place, index) => {
    const repeats = variadic && index === all.length - 1;
    const where = at(path, repeats ? "*" : String(index));
    if (place === null) return [];
    if (place === "files" || place === "directories") {
      return [`complete -c symphony -n ${where} -F`];
    }
    return [`complete -c symphony -n ${where} -a ${wordsOf(place)}`];
  });
}

function valueFlags(place: Place): string {
  if (place === "files" || place === "directories") return "-r -F";
  return place === null ? "-x" : `-x -a ${wordsOf(place)}`;
}

function wordsOf(place: "issues" | readonly string[]): string {
  if (typeof place !== "string") return fishQuoted(place.join(" "));
  return fishQuoted("(command symphony completion --issues 2> /dev/null)");
}

function at(path: string, count?: string): string {
  const which = count === undefined ? "" : ` "${count}"`;
  return fishQuoted(`__symphony_at "${path}"${which}`);
}

function fishQuoted(text: string): string {
  const line = text.replaceAll(/\s+/g, " ");
  return `'${line.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}
