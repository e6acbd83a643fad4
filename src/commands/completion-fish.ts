import type { CommandSpec, OptionSpec, Place } from "./completion-spec.ts";

/** The script for fish, to be sourced or put into its directory of completions. */
export function fishScript(specs: readonly CommandSpec[]): string {
  const named = specs.filter(({ path }) => path !== "");
  const valued = specs.flatMap(({ path, options }) =>
    options.flatMap(({ flags, value }) =>
      value === null ? [] : flags.map((flag) => `${path || "*"} ${flag}`),
    ),
  );
  return `# fish completion for symphony
set -g __symphony_commands ${named.map(({ path }) => quoted(path)).join(" ")}
set -g __symphony_valued ${valued.map(quoted).join(" ")}
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
    return `complete -c symphony -n ${at(path, "0")} -a ${quoted(name)} -d ${quoted(one.description)}`;
  });
}

function options({ path, options: all }: CommandSpec): string[] {
  return all.map(({ flags, description, value }: OptionSpec) => {
    const names = flags.map((flag) =>
      flag.startsWith("--") ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`,
    );
    const given = value === null ? "" : ` ${valueFlags(value)}`;
    const where = path === "" ? "" : `-n ${at(path)} `;
    return `complete -c symphony ${where}${names.join(" ")}${given} -d ${quoted(description)}`;
  });
}

function positions({ path, positions: all, variadic }: CommandSpec): string[] {
  return all.flatMap((place, index) => {
    const repeats = variadic && index === all.length - 1;
    const where = at(path, repeats ? "*" : String(index));
    if (place.kind === "nothing") return [];
    if (place.kind === "files" || place.kind === "directories") {
      return [`complete -c symphony -n ${where} -F`];
    }
    return [`complete -c symphony -n ${where} -a ${wordsOf(place)}`];
  });
}

function valueFlags(place: Place): string {
  if (place.kind === "files" || place.kind === "directories") return "-r -F";
  return place.kind === "nothing" ? "-x" : `-x -a ${wordsOf(place)}`;
}

function wordsOf(place: Place): string {
  if (place.kind === "words") return quoted(place.words.join(" "));
  return quoted("(command symphony completion --issues 2> /dev/null)");
}

function at(path: string, count?: string): string {
  const which = count === undefined ? "" : ` "${count}"`;
  return quoted(`__symphony_at "${path}"${which}`);
}

function quoted(text: string): string {
  const line = text.replaceAll(/\s+/g, " ");
  return `'${line.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}
