import { join } from "node:path";
import type { ProtectedGit } from "./git.ts";
import { type Entry, entriesIn, split, wholeCall } from "./lists.ts";

/** A change of the index against a commit or tree. */
export interface Change {
  readonly name: string;
  readonly before: Entry;
  readonly after: Entry;
}

interface Place {
  /** null before the first commit. */
  readonly head: string | null;
  readonly format: "sha1" | "sha256";
}

/** Changes of the form of files, which no one made on purpose. */
export class Forms {
  readonly #git: ProtectedGit;
  readonly #place: Place;
  readonly #tracked: ReadonlyMap<string, Entry>;

  constructor(git: ProtectedGit, place: Place, tracked: ReadonlyMap<string, Entry>) {
    this.#git = git;
    this.#place = place;
    this.#tracked = tracked;
  }

  /**
   * Takes files out of symphony's index that differ from `from` only in line ends, or only in a mode that was lost,
   * and says so in `out`. Resolves with the changes to HEAD, null: they have to be read.
   */
  async leaveOut(from: string, out: Map<string, string>): Promise<readonly Change[] | null> {
    if (this.#place.head === null) return null;
    const changes = await this.changes(from);
    const edited = changes.filter(
      ({ before, after }) => before.mode.startsWith("100") && after.mode.startsWith("100"),
    );
    const back = await this.#onlyLineEnds(edited, from);
    const lost = await this.#lostModes(edited);
    for (const { name } of back) out.set(name, "it differs only in its line ends");
    for (const { name } of lost) out.set(name, "its mode was lost, as by a copy of all files");
    const input = [...back, ...lost]
      .map(({ name, before }) => `${before.mode} ${before.id}\t${name}\0`)
      .join("");
    if (input === "") return from === "HEAD" ? changes : null;
    await this.#git.run(["update-index", "-z", "--index-info"], { ...wholeCall, input });
    return null;
  }

  async #onlyLineEnds(edited: readonly Change[], base: string): Promise<readonly Change[]> {
    const rewritten = edited.filter(({ before, after }) => before.id !== after.id);
    if (rewritten.length === 0) return [];
    const flags = ["--cached", "--numstat", "-z", "--no-renames", "--no-ext-diff", "--no-textconv"];
    const how = [...flags, "--ignore-cr-at-eol", "--ignore-submodules=all"];
    const tree = `--work-tree=${join(this.#git.dir, "tree")}`;
    const text = await this.#git.run([tree, "diff-index", ...how, base], wholeCall);
    const inText = new Set(
      split(text).flatMap((line) =>
        /^0\t0\t/.test(line) ? [] : [line.replace(/^[^\t]*\t[^\t]*\t/, "")],
      ),
    );
    return rewritten.filter(({ name }) => !inText.has(name));
  }

  /** One file that loses its mode is a change; all of several that lose it were copied badly. */
  async #lostModes(edited: readonly Change[]): Promise<readonly Change[]> {
    const executables = [...this.#tracked.values()].filter(({ mode }) => mode === "100755");
    const lost = edited.filter(
      ({ before, after }) =>
        before.id === after.id && before.mode === "100755" && after.mode === "100644",
    );
    return lost.length > 1 && lost.length === executables.length ? lost : [];
  }

  /** How symphony's index differs from HEAD, or another tree. */
  async changes(from: string): Promise<readonly Change[]> {
    const { head, format } = this.#place;
    if (head === null) {
      const none = { mode: "000000", id: "0".repeat(format === "sha256" ? 64 : 40) };
      const entries = entriesIn(await this.#git.run(["ls-files", "--stage", "-z"], wholeCall));
      return [...entries].map(([name, after]) => ({ name, before: none, after }));
    }
    const flags = ["--cached", "--raw", "-z", "--no-renames", "--abbrev=64"];
    const parts = split(await this.#git.run(["diff-index", ...flags, from], wholeCall));
    return parts.flatMap((line, at) => {
      const [, old = "", mode = "", from = "", id = ""] =
        /^:(\d+) (\d+) (\w+) (\w+) /.exec(line) ?? [];
      if (at % 2 === 1) return [];
      return [{ name: parts[at + 1] ?? "", before: { mode: old, id: from }, after: { mode, id } }];
    });
  }
}
