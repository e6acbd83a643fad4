import { basename, resolve } from "node:path";
import { type InstalledAgent, installedAgents } from "../core/agent/installed.ts";
import { isGitAddress, parseGitAddress } from "../core/config/git.ts";
import { pathAddress } from "../core/config/local-address.ts";
import { GitFailure, runGit } from "../core/repository/git.ts";
import type { CommandIo } from "./context.ts";
import { type AgentChoice, builtIn, type FoundRepository } from "./setup-file.ts";

type Env = CommandIo["env"];

/** What this machine and this directory have. */
export interface SetupFacts {
  readonly repository: FoundRepository | null;
  /** What is to be known about it. */
  readonly remark: string | null;
  readonly installed: readonly InstalledAgent[];
}

/** Looks around; `has` says whether a key is stored or set. Starts git and a login shell, asks no network, reads no login. */
export async function lookAround(
  cwd: string,
  env: Env,
  has: (name: string) => boolean,
): Promise<SetupFacts> {
  const [found, installed] = await Promise.all([
    repositoryIn(cwd, env, has),
    installedAgents(env, has),
  ]);
  const agents = await Promise.all(installed.map((one) => withProviderKey(one, env, has)));
  return { ...found, installed: agents };
}

/** codex with a provider of its own gets that provider's key, by name, and needs no login. */
async function withProviderKey(
  found: InstalledAgent,
  env: Env,
  has: (name: string) => boolean,
): Promise<InstalledAgent> {
  const { program } = found;
  if (program.name !== "codex") return found;
  const { codexProvider } = await import("../core/agent/codex/provider.ts");
  const { isOther, keyName, usesKeyring } = await codexProvider(env);
  if (!isOther) return found.login === null && usesKeyring ? { ...found, login: "unseen" } : found;
  if (keyName === null) return { ...found, login: "key", program: { ...program, keyNames: [] } };
  const settings = ["codex:", `  env_passthrough: [${keyName}] # the key of codex's own provider`];
  const own = { keyNames: [keyName], login: `symphony secrets add ${keyName}` };
  return {
    ...{ path: found.path, login: has(keyName) ? "key" : null },
    program: { ...program, ...own, settings: [...settings, ...program.settings] },
  };
}

/** The agents to offer: the found ones with a login, the built-in one where it has a key or an address, the other found ones. */
export function offered(
  installed: readonly InstalledAgent[],
  has: (name: string) => boolean,
  provider: string | null = null,
): readonly AgentChoice[] {
  const choiceOf = ({ program }: InstalledAgent): AgentChoice => {
    const { name, addressName: address, settings, keyNames, levelsWithKey } = program;
    const levels = (keyNames.some(has) && levelsWithKey) || program.levels;
    const kept =
      address === undefined || !has(address)
        ? []
        : [`${name}:`, `  env_passthrough: [${address}] # your provider's address`];
    return { ...program, levels, settings: [...kept, ...settings] };
  };
  const isBuiltInReady = provider !== null || builtIn.keyNames.some(has);
  return [
    ...installed.filter(({ login }) => login !== null).map(choiceOf),
    ...(isBuiltInReady ? [builtIn] : []),
    ...installed.filter(({ login }) => login === null).map(choiceOf),
  ];
}

type Found = Pick<SetupFacts, "repository" | "remark">;

/** The branch that is checked out; with a detached head the only one there is. */
async function localBranch(git: (...args: string[]) => Promise<string | null>) {
  const current = await git("branch", "--show-current");
  const all = current ?? (await git("for-each-ref", "--format=%(refname:short)", "refs/heads"));
  return all === null || all.includes("\n") ? null : all;
}

async function repositoryIn(cwd: string, env: Env, has: (name: string) => boolean): Promise<Found> {
  const git = async (...args: string[]) => {
    try {
      const own = { PATH: env["PATH"] ?? "/usr/bin:/bin", HOME: env["HOME"] ?? "/" };
      const signal = AbortSignal.timeout(5_000);
      const call = { args, cwd, env: { ...own, GIT_TERMINAL_PROMPT: "0" }, timeoutMs: 5_000 };
      const { status, stdout } = await runGit({ ...call, signal });
      return status === 0 && stdout.trim() !== "" ? stdout.trim() : null;
    } catch (error) {
      if (error instanceof GitFailure) return null;
      return null;
    }
  };
  const top = await git("rev-parse", "--show-toplevel");
  if (top === null) return { repository: null, remark: "this is no git repository" };
  const remote = await git("remote", "get-url", "origin");
  const head = await git("symbolic-ref", "--short", "refs/remotes/origin/HEAD");
  const branch = head?.replace(/^origin\//, "") ?? (await localBranch(git));
  const name = nameOf(remote ?? top);
  if (remote === null) {
    const isEmpty = (await git("rev-parse", "--verify", "--quiet", "HEAD")) === null;
    const remark = "it has no remote: finished work becomes branches of this very repository";
    return { repository: { name, url: pathAddress(top), branch, keyName: null, isEmpty }, remark };
  }
  // git takes a path as it is from the top of the work tree.
  const isPath = /^[./]/.test(remote);
  return addressed({ name, branch }, isPath ? pathAddress(resolve(top, remote)) : remote, has);
}

/** The remote as a workflow file may name it: without a credential, and with the name of one that is known. */
function addressed(
  known: Pick<FoundRepository, "name" | "branch">,
  remote: string,
  has: (name: string) => boolean,
): Found {
  const url = URL.parse(remote);
  const isHttp = url !== null && /^https?:$/.test(url.protocol);
  if (isHttp) {
    url.username = "";
    url.password = "";
  }
  const plain = isHttp ? url.href : remote;
  const keyName = isHttp && url.hostname === "github.com" && has(tokenName) ? tokenName : null;
  const address = keyName === null ? plain : plain.replace("://", `://$${keyName}@`);
  if (isGitAddress(parseGitAddress(address))) {
    const remark = isHttp && keyName === null ? `pushing to it may need a token: ${plain}` : null;
    return { repository: { ...known, url: address, keyName }, remark };
  }
  return { repository: null, remark: "the address of origin cannot be used by symphony" };
}

const tokenName = "GITHUB_TOKEN";

function nameOf(place: string): string {
  const last = basename(place.replace(/\.git\/?$/, "").replace(/:/g, "/"));
  const name = last.replaceAll(/[^A-Za-z0-9._-]/g, "-").replace(/^[^A-Za-z0-9]+/, "");
  return name.slice(0, 100) || "project";
}
