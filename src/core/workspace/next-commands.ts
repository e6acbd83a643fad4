import { basename, dirname } from "node:path";
import { shellQuoted } from "../agent/shell-quoted.ts";
import { keyOfAside } from "./known-places.ts";

/** A directory, and whose it is. */
export interface Standing {
  readonly key: string;
  readonly path: string;
  readonly issueId: string;
}

/** See it, delete it. */
export type NextCommands = readonly [show: string, remove: string];

/** What a person may do about it. Where its key or its issue would not do, they name it by its path. */
export function nextCommands(
  { key, path, issueIdentifier }: Standing & { readonly issueIdentifier: string },
  alone: boolean,
): NextCommands {
  // What was set aside is another directory than the issue's own.
  const shown = keyOfAside(key) === null ? issueIdentifier : key;
  return [
    `symphony diff ${shellQuoted(alone ? shown : path)}`,
    `symphony workspaces remove ${shellQuoted(alone ? key : path)} --force`,
  ];
}

/**
 * The paths of those in `all` that stand in `root`, where no other directory that is known has their key, or is their
 * issue's. One that is gone counts too: it may come back, and a path is never wrong.
 */
export function aloneIn(
  root: string,
  all: readonly Standing[],
  known: Iterable<Pick<Standing, "path" | "issueId">>,
): ReadonlySet<string> {
  const byKey = new Map(all.map(({ key }) => [key, new Set<string>()]));
  const byIssue = new Map(all.map(({ issueId }) => [issueId, new Set<string>()]));
  for (const { path, issueId } of known) {
    const key = basename(path);
    byKey.get(key)?.add(path);
    if (keyOfAside(key) === null) byIssue.get(issueId)?.add(path);
  }
  const alone = all.filter(({ key, path, issueId }) => {
    const isAside = keyOfAside(key) !== null;
    const others = [byKey.get(key), isAside ? undefined : byIssue.get(issueId)];
    return dirname(path) === root && others.every((paths) => (paths?.size ?? 0) <= 1);
  });
  return new Set(alone.map(({ path }) => path));
}
