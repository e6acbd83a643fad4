import { rmdir } from "node:fs/promises";
import { commitId } from "../config/git.ts";
import { type Copy, copyOf, installCopy, moreOf, placeCopy } from "../fleet/copy.ts";
import { SymphonyError } from "../model/errors.ts";
import { withoutCredentials } from "../repository/checkout.ts";
import { gitHead } from "../repository/survey.ts";
import type { Place } from "./book.ts";
import { lost, type Reply } from "./command-line.ts";
import { nameOf } from "./refusals.ts";

// What comes back from a host, and its way into the directory here.

export const branchPrefix = "refs/heads/";

/** What the host has and this machine has, once both are the same; `here` is null where this machine has more. */
export type Known = Pick<Place, "seen" | "here">;

/**
 * Lays what a host sent into the directory here. Where both have changed, the one that has all of the other counts; rejects
 * with `workspace_error` when neither does, and with `worker_lost` for an answer that cannot be read.
 */
export async function installReturned(
  place: Place,
  { words: [, ...words], data }: Reply,
  {
    maxBytes,
    isNew,
    tell,
  }: { readonly maxBytes: number; readonly isNew: boolean; tell(line: string): void },
): Promise<Known> {
  const [head = "", ref = "", tree = ""] = words;
  const seen = [head, ref, tree].join(" ");
  const copy = copyIn(place, words, data);
  const { path } = place;
  const signal = new AbortController().signal;
  if (isNew) {
    // Only an empty directory can be removed.
    await rmdir(path);
    await placeCopy(copy, path, signal);
  } else {
    const before = await gitHead(path);
    const known = before?.head ? [before.head] : [];
    const now = await copyOf(path, { maxBytes, known, signal });
    // What was sent without an answer is what the host has, if it has that commit.
    const sent = place.sending?.head === head ? place.sending : null;
    const isSame = [place.here, sent].some(
      (one) => one?.head === now.facts.head && one.digest === now.digest.sha256,
    );
    const more = isSame ? "there" : await moreOf(path, now, copy);
    if (more === "here") return { seen, here: null };
    if (more === null) throw apart(place);
    // Such as a reset that a person made while the host could not be asked.
    if (!isSame)
      tell(
        `${path} was changed here, and ${nameOf(place)} has all of it and more: it replaces that`,
      );
    const { branch, head: from } = now.facts;
    // A host sends commits and files: what is staged and stashed stays as it is on each side.
    const had = { branch, head: from, names: now.names, index: null, refs: [], stashes: [] };
    await installCopy(path, had, copy);
  }
  const after = await copyOf(path, { maxBytes, known: [head], signal });
  return { seen, here: { head, digest: after.digest.sha256 } };
}

function copyIn(
  { host }: Place,
  words: readonly string[],
  data: Buffer,
): Pick<Copy, "facts" | "bundle"> {
  const [head = "", ref = "", tree = "", files = "", origin = "", size = ""] = words;
  const ids = [head, tree, ...(files === "-" ? [] : [files])];
  const isWhole = ids.every((id) => commitId.test(id)) && data.length >= Number(size);
  if (!isWhole) throw lost(host, "what came back cannot be read");
  const facts: Copy["facts"] = {
    ...{ head, base: null, index: null, stashes: [] },
    branch: ref.startsWith(branchPrefix) ? ref.slice(branchPrefix.length) : null,
    files: files === "-" ? null : files,
    refs: [
      ["refs/kept/head", head],
      ...(files === "-" ? [] : [["refs/kept/files", files] as const]),
    ].map(([name = "", id = ""]) => [name, id] as [string, string]),
    origin: withoutCredentials(origin),
  };
  const bytes = data.subarray(0, Number(size));
  return { facts, bundle: bytes.length === 0 ? null : bytes };
}

function apart(place: Place): SymphonyError {
  const { path, remotePath, host } = place;
  const message = `${path} and ${nameOf(place)} have both changed: neither replaces the other`;
  return new SymphonyError("workspace_error", message, {
    hint: `compare them; to continue with what is here, move the other away: on ${host}, mv ${remotePath} ${remotePath}.other`,
  });
}
