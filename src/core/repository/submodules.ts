import { basename, dirname } from "node:path";
import { commitId, type GitAddress, isGitAddress, parseGitAddress } from "../config/git.ts";
import { plainName, rawName } from "../text/text.ts";
import { hasCommit } from "./commits.ts";
import { openProtectedGit, type ProtectedGit } from "./git.ts";
import { split, wholeCall } from "./lists.ts";

// What a commit says of its submodules. It is untrusted: it chooses paths, and addresses that symphony would read.

/** A submodule that may be checked out. */
export interface Submodule {
  /** Below the top of the repository that names it. */
  readonly path: string;
  readonly commit: string;
  readonly address: GitAddress;
}

export interface Submodules {
  readonly wanted: readonly Submodule[];
  /** Those that are not checked out, and why. */
  readonly refused: readonly { readonly path: string; readonly why: string }[];
}

const maxModulesBytes = 256 * 1024;
const notGit = /(?:^|\/)(?:\.git|git~\d|\.|\.\.)(?:$|\/)/i;

/** The submodules of a commit of a mirror whose remote is `from`. Rejects with `GitFailure`. */
export async function submodulesOf(
  mirror: string,
  commit: string,
  from: GitAddress,
  signal: AbortSignal,
): Promise<Submodules> {
  await using git = await openProtectedGit(mirror, { head: commit, worktree: null, signal });
  const entries = split(await git.run(["ls-tree", "-r", "-z", "--full-tree", commit], wholeCall));
  const links = entries.flatMap((entry) => {
    const [, id, name] = /^160000 commit (\w+)\t(.+)$/s.exec(entry) ?? [];
    return id === undefined || name === undefined || !commitId.test(id) ? [] : [{ id, name }];
  });
  if (links.length === 0) return { wanted: [], refused: [] };
  const isFile = entries.some((entry) => /^100(?:644|755) blob \w+\t\.gitmodules$/.test(entry));
  const urls = isFile ? await urlsIn(git, commit) : new Map<string, string>();
  const wanted: Submodule[] = [];
  const refused: { path: string; why: string }[] = [];
  for (const { id, name } of links) {
    const path = Buffer.from(name, "latin1").toString("utf8");
    const url = urls.get(name);
    const isPlain = rawName(path) === name && !notGit.test(path) && !/\p{Cc}/u.test(path);
    const found = url === undefined ? "no address is named for it" : addressOf(url, from);
    if (!isPlain) refused.push({ path: plainName(name), why: "its path is not allowed" });
    else if (typeof found === "string") refused.push({ path, why: found });
    else wanted.push({ path, commit: id, address: found });
  }
  return { wanted, refused };
}

/** Whether a repository has the commit. */
export async function holds(gitDir: string, commit: string, signal: AbortSignal): Promise<boolean> {
  await using git = await openProtectedGit(gitDir, { head: null, worktree: null, signal });
  return await hasCommit(git, commit);
}

/** Addresses by raw path, as the commit's `.gitmodules` has them; git reads no other file for it. */
async function urlsIn(git: ProtectedGit, commit: string): Promise<ReadonlyMap<string, string>> {
  const keys = "^submodule\\..*\\.(path|url)$";
  const blob = `--blob=${commit}:.gitmodules`;
  const args = ["config", blob, "--no-includes", "-z", "--get-regexp", keys];
  const text = await git
    .run(args, { ...wholeCall, maxBytes: maxModulesBytes, mayExit: 1 })
    .catch(() => "");
  const paths = new Map<string, string>();
  const urls = new Map<string, string>();
  for (const line of split(text)) {
    const [, name = "", key, value = ""] = /^submodule\.(.*)\.(path|url)\n(.*)$/s.exec(line) ?? [];
    if (key === "path") paths.set(name, value);
    if (key === "url") urls.set(name, value);
  }
  return new Map(
    [...paths].flatMap(([name, path]) => {
      const url = urls.get(name);
      return url === undefined ? [] : [[path, url] as const];
    }),
  );
}

/**
 * The address that `.gitmodules` of a repository at `from` names, or why it is not used: only the repository's own protocol and host are
 * asked, with its credential. Of a repository on this disk it is another one in the same directory.
 */
export function addressOf(url: string, from: GitAddress): GitAddress | string {
  const isRelative = /^\.\.?\//.test(url);
  if (from.protocol === "file") {
    const name = /^\.\.\/([A-Za-z0-9_][A-Za-z0-9._-]*)\/?$/.exec(url)?.[1];
    const why = "a repository on this disk may only name another one next to it, as ../NAME";
    if (name === undefined) return why;
    const place = from.address.replace(/\/+$/, "");
    if (basename(place) === "" || basename(place) === "..") return why;
    return { ...from, address: `${dirname(place)}/${name}` };
  }
  const written = isRelative ? joined(from.address, url) : url;
  const found = written === null ? null : parseGitAddress(written);
  if (found === null || !isGitAddress(found) || found.login !== null)
    return "its address cannot be used";
  if (found.protocol !== from.protocol)
    return `its address does not use ${from.protocol}, as that of the repository does`;
  if (hostOf(found) !== hostOf(from)) return "its address is on another site";
  return { ...found, login: from.login };
}

/** `url` relative to an address, as git reads it; null: it leads above the top. */
function joined(address: string, url: string): string | null {
  const [, front = "", path = ""] =
    /^([a-z]+:\/\/[^/]+\/)(.*)$/.exec(address) ?? /^([^/]*:)(.*)$/.exec(address) ?? [];
  const parts = path.split("/").filter((part) => part !== "");
  for (const part of url.split("/")) {
    if (part === "." || part === "") continue;
    if (part !== "..") parts.push(part);
    else if (parts.pop() === undefined) return null;
  }
  return parts.length === 0 ? null : `${front}${parts.join("/")}`;
}

function hostOf({ address }: GitAddress): string {
  const url = address.includes("://") ? URL.parse(address) : null;
  return url === null ? (/^(?:[^@]*@)?([^:]+):/.exec(address)?.[1] ?? "") : url.host;
}
