import { globSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** A block of code of a page. */
export interface Snippet {
  readonly page: string;
  /** That of its first line in the page. */
  readonly number: number;
  readonly language: string;
  readonly body: string;
  /** Why no test runs it, as the page says before it; null: one does. */
  readonly reason: string | null;
}

const root = fileURLToPath(new URL("../../..", import.meta.url));

/** Every block of code of README and docs, also those that are only indented. */
export function snippets(): readonly Snippet[] {
  const pages = ["README.md", ...globSync("docs/**/*.md", { cwd: root }).sort()];
  return pages.flatMap((page) => snippetsIn(page, readFileSync(`${root}/${page}`, "utf8")));
}

/** The README, which is read by people who have not seen symphony, says the reason as a comment. */
const block =
  /(?:^(?:\*|<!-- )Not run by a test: ([^\n]+?)(?:\*| -->)\n\n?)?(?:^```(\w*)\n(.*?)^```$|(?<=\n\n)((?: {4}\S[^\n]*\n)+))/gms;

function snippetsIn(page: string, text: string): readonly Snippet[] {
  return [...text.matchAll(block)].map((match) => {
    const [whole, reason = null, language = "indented", body, indented = ""] = match;
    const before = text.slice(0, match.index + whole.indexOf(body ?? indented));
    const number = before.split("\n").length;
    return { page, number, language, body: body ?? indented, reason };
  });
}
