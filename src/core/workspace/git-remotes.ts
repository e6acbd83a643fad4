import { join } from "node:path";
import { oneLine } from "../one-line.ts";
import { isRefName } from "./branch-name.ts";
import { readSmall, sharedDirOf, targetOf } from "./git-files.ts";

export interface Remote {
  readonly name: string;
  /** Without credentials; null where it is of no known form. */
  readonly url: string | null;
}

const maxConfigBytes = 256 * 1024;
const mostRemotes = 50;
const maxUrlChars = 500;
const schemes: ReadonlySet<string> = new Set(["https:", "http:", "ssh:", "git:", "file:"]);

/** The remotes that a repository's own configuration names, read as text: git is not asked. */
export async function remotesOf(gitDir: string): Promise<Remote[]> {
  const text = (await readSmall(join(await sharedDirOf(gitDir), "config"), maxConfigBytes)) ?? "";
  const remotes = new Map<string, Remote>();
  let current: string | null = null;
  for (const line of text.split("\n")) {
    if (/^\s*\[/.test(line)) {
      const name = /^\s*\[remote "([^"\\]{1,200})"\]\s*$/.exec(line)?.[1];
      current = name !== undefined && isRefName(name) ? name : null;
      continue;
    }
    const written = /^\s*url\s*=\s*"?(.*?)"?\s*$/i.exec(line)?.[1];
    if (current === null || written === undefined || remotes.has(current)) continue;
    if (remotes.size < mostRemotes) {
      remotes.set(current, { name: current, url: withoutCredentials(written) });
    }
  }
  return [...remotes.values()];
}

/** A remote's address as it may be shown: who logs in, and how, is left out. */
export function withoutCredentials(written: string): string | null {
  const text = oneLine(written, maxUrlChars);
  if (text.startsWith("/")) return text;
  const url = URL.parse(text);
  if (url !== null && schemes.has(url.protocol)) {
    const user = url.username === "git" && url.protocol === "ssh:" ? "git@" : "";
    return `${url.protocol}//${user}${url.host}${url.pathname}`;
  }
  const [, user = "", place = ""] = /^(?:([^/\s]*)@)?([\w.-]+:(?!:)[^\s]+)$/.exec(text) ?? [];
  if (place === "") return null;
  return user === "git" ? `git@${place}` : place;
}

/** The branch that others start from, as the last clone or fetch told it; null where that is not known. */
export async function defaultBranchOf(
  gitDir: string,
  remote: string,
  tracked: ReadonlyMap<string, string>,
): Promise<string | null> {
  const told = await targetOf(`refs/remotes/${remote}/HEAD`, gitDir);
  const prefix = `remotes/${remote}/`;
  if (told?.startsWith(prefix)) return told.slice(prefix.length);
  return ["main", "master"].find((name) => tracked.has(`${remote}/${name}`)) ?? null;
}
