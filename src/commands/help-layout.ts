/** A term and what it means. */
export type Item = readonly [term: string, meaning: string];

export interface HelpParts {
  readonly summary: string;
  readonly examples: readonly string[];
  readonly usage: string;
  readonly sections: readonly (readonly [title: string, items: readonly Item[]])[];
  /** Columns to wrap at. */
  readonly width: number;
}

/** The one layout of every help text: summary, examples, usage, then lists of terms in one column. */
export function helpText({ summary, examples: lines, usage, sections, width }: HelpParts): string {
  const filled = sections.filter(([, items]) => items.length > 0);
  const terms = filled.flatMap(([, items]) => items.map(([term]) => term.length));
  const column = Math.max(0, ...terms) + 4;
  const shown = filled.map(
    ([title, items]) =>
      `\n${title}:\n${items.map((item) => itemText(item, column, width)).join("\n")}`,
  );
  const first = lines.length === 0 ? [] : ["\nExamples:", ...lines.map((line) => `  ${line}`)];
  return `${[summary, ...first, `\nUsage: ${usage}`, ...shown].join("\n")}\n`;
}

function itemText([term, meaning]: Item, column: number, width: number): string {
  const room = Math.max(width - column, 30);
  const lines: string[] = [""];
  for (const word of meaning.split(" ")) {
    const last = lines.at(-1) ?? "";
    if (last !== "" && last.length + 1 + word.length > room) lines.push(word);
    else lines[lines.length - 1] = last === "" ? word : `${last} ${word}`;
  }
  return `  ${term}`.padEnd(column) + lines.join(`\n${" ".repeat(column)}`);
}
