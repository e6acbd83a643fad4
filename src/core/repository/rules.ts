import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileAt } from "../text/text.ts";
import type { ProtectedGit } from "./git.ts";
import { type Entry, entriesIn, listed, split, wholeCall } from "./lists.ts";

// Which rules of `.gitattributes` a commit follows: those of the base, never what an agent has written.

export const attributesFile = /(?:^|\/)\.gitattributes$/;

interface RulesOrder {
  /** A directory that is made: git then takes it for the files' own, and reads the rules in it. */
  readonly tree: string;
  /** The commit whose rules count; null: there are none. */
  readonly base: string | null;
  /** What `git` compares with. */
  readonly tracked: ReadonlyMap<string, Entry>;
}

/** Fills `tree` with the `.gitattributes` of the base alone; resolves with what the base has, by name. */
export async function layRules(
  git: ProtectedGit,
  { tree, base, tracked }: RulesOrder,
): Promise<ReadonlyMap<string, Entry>> {
  await rm(join(git.dir, "info", "attributes"));
  await mkdir(tree);
  const index = join(git.dir, "base-index");
  await git.run(["read-tree", base ?? "--empty"], { ...wholeCall, index });
  const staged = entriesIn(await git.run(["ls-files", "--stage", "-z"], { ...wholeCall, index }));
  const isRule = ([name, { mode }]: readonly [string, Entry]) =>
    attributesFile.test(name) && mode.startsWith("100");
  const rules = [...staged].filter(isRule).map(([name]) => name);
  const checkOut = [`--work-tree=${tree}`, "checkout-index", "--quiet", "-z", "--stdin"];
  if (rules.length > 0) await git.run(checkOut, { ...wholeCall, index, input: listed(rules) });
  // Git would read those of HEAD from its index in place of a missing one.
  for (const [name] of [...tracked].filter(isRule)) {
    if (staged.has(name)) continue;
    const above = name.slice(0, Math.max(name.lastIndexOf("/"), 0));
    await mkdir(fileAt(tree, above), { recursive: true });
    await writeFile(fileAt(tree, name), "");
  }
  return staged;
}

/** The value of one attribute that the rules in `tree` name for each of `names` (raw); none where they name none. */
export async function attributesOf(
  git: ProtectedGit,
  {
    tree,
    attribute,
    names,
  }: Pick<RulesOrder, "tree"> & { readonly attribute: string; readonly names: readonly string[] },
): Promise<ReadonlyMap<string, string>> {
  const values = new Map<string, string>();
  if (names.length === 0) return values;
  const check = [`--work-tree=${tree}`, "check-attr", "-z", "--stdin", attribute];
  const answer = split(await git.run(check, { ...wholeCall, input: listed(names) }));
  for (let at = 0; at + 2 < answer.length; at += 3) {
    const [name = "", , value = ""] = answer.slice(at, at + 3);
    if (value !== "unspecified" && value !== "unset") values.set(name, value);
  }
  return values;
}
