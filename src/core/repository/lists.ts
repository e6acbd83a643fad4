// Lists of files as git prints and reads them; names are bytes, one character each.

export interface Entry {
  readonly mode: string;
  readonly id: string;
}

/** Limits of a call about all files; names are bytes, one character each. */
export const wholeCall = {
  encoding: "latin1",
  timeoutMs: 120_000,
  maxBytes: 256 * 1024 * 1024,
} as const;

/** The entries of `ls-files --stage -z`, by name. */
export function entriesIn(text: string): Map<string, Entry> {
  return new Map(
    split(text).flatMap((line) => {
      const [, mode = "", id = "", name = ""] = /^(\d+) (\w+) \d\t(.+)$/s.exec(line) ?? [];
      return name === "" ? [] : [[name, { mode, id }] as const];
    }),
  );
}

/** The parts of an output with `-z`. */
export function split(text: string): string[] {
  return text.split("\0").filter((part) => part !== "");
}

/** Names as git reads them with `-z --stdin`. */
export function listed(names: readonly string[]): string {
  return names.map((name) => `${name}\0`).join("");
}
