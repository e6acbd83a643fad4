// Colours by syntax for the lines of a diff. Nothing of it is loaded before a diff is shown.

/** A piece of a line; `look` is a class of the style, null for plain text. */
export interface Piece {
  readonly text: string;
  readonly look: string | null;
}

const languages: Readonly<Record<string, string>> = {
  ...{ ts: "ts", tsx: "ts", mts: "ts", cts: "ts", js: "js", jsx: "js", mjs: "js", cjs: "js" },
  ...{ c: "c", h: "c", cc: "c", cpp: "c", hpp: "c", java: "java", kt: "java", cs: "java" },
  ...{ json: "json", py: "py", go: "go", rs: "rs", css: "css", scss: "css", html: "html" },
  ...{ xml: "xml", svg: "xml", sh: "bash", bash: "bash", md: "md", yaml: "yaml", yml: "yaml" },
  ...{ toml: "toml", sql: "sql", dockerfile: "docker", makefile: "make", lua: "lua", pl: "pl" },
};

/** The language of a file by its name; null: it stays plain. */
export function languageOf(path: string): string | null {
  const [, ending = ""] = /([^./]+)$/.exec(path.toLowerCase()) ?? [];
  return Object.hasOwn(languages, ending) ? (languages[ending] ?? null) : null;
}

interface Library {
  tokenizeWith(text: string, rules: unknown, take: (text: string, type?: string) => void): void;
}

/** A module of the library, which the page has under this name. */
const load = (name: string) => import(`@speed-highlight/core/${name}`);

/**
 * Patterns of the library may look again and again at what follows: text is given to it in parts of so many characters, for
 * at most so long, and a longer line never.
 */
const [partChars, lineChars, budgetMs] = [3_000, 400, 30];

/**
 * The pieces of each line of a hunk, without the sign that the line begins with. Removed lines are read with the lines
 * around them as they were, all others as they are now. A line of which nothing is known is missing in the answer.
 */
export async function coloured(
  language: string,
  lines: readonly string[],
): Promise<ReadonlyMap<number, readonly Piece[]>> {
  const [{ tokenizeWith }, { default: rules }]: [Library, { default: unknown }] = await Promise.all(
    [load("tokenize"), load(`languages/${language}.js`)],
  );
  const until = performance.now() + budgetMs;
  const pieces = new Map<number, readonly Piece[]>();
  for (const [own, other] of [
    ["-", "+"],
    ["+", "-"],
  ] as const) {
    for (const part of partsOf(lines, other)) {
      if (performance.now() > until) return pieces;
      const text = part.map((at) => lines[at]?.slice(1) ?? "").join("\n");
      const found = linesIn(text, (take) => tokenizeWith(text, rules, take), until);
      for (const [index, line] of found.entries()) {
        const at = part[index];
        if (at !== undefined && (own === "+" || lines[at]?.startsWith("-"))) pieces.set(at, line);
      }
    }
  }
  return pieces;
}

/** The lines of a hunk that belong together, without those of the other side, in parts of a bounded length. */
function partsOf(lines: readonly string[], other: string): readonly (readonly number[])[] {
  const parts: number[][] = [[]];
  let chars = 0;
  for (const [at, line] of lines.entries()) {
    // The names of the two files begin as code does.
    const isCode = /^(?!--- |\+\+\+ )[-+ ]/.test(line) && line.length <= lineChars;
    if (line.startsWith(other)) continue;
    if (!isCode || chars + line.length > partChars) {
      parts.push([]);
      chars = 0;
    }
    if (isCode) parts.at(-1)?.push(at);
    chars += line.length;
  }
  return parts.filter((part) => part.length > 0);
}

/** What the library finds, by line; nothing where it takes too long. */
function linesIn(
  text: string,
  read: (take: (text: string, type?: string) => void) => void,
  until: number,
): readonly (readonly Piece[])[] {
  const lines: Piece[][] = [[]];
  try {
    read((token, type) => {
      if (performance.now() > until) throw new Error("too long");
      for (const [at, part] of token.split("\n").entries()) {
        if (at > 0) lines.push([]);
        if (part !== "") lines.at(-1)?.push({ text: part, look: looks[type ?? ""] ?? null });
      }
    });
  } catch {
    return [];
  }
  const whole = lines.map((line) => line.map((piece) => piece.text).join("")).join("\n");
  return whole === text ? lines : [];
}

/** Classes of the style, by what the library calls its tokens. */
const looks: Readonly<Record<string, string>> = {
  ...{ kwd: "word", section: "word", cmnt: "remark", str: "text", esc: "text", num: "value" },
  ...{ bool: "value", class: "name", type: "name", func: "call", var: "name" },
};
