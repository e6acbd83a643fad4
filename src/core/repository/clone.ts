import { join } from "node:path";
import type { Clock } from "../clock.ts";
import type { RepositoryConfig } from "../config/git.ts";
import { type ErrorCode, SymphonyError } from "../model/errors.ts";
import { oneLine } from "../text/text.ts";
import { defaultBranchOf, refsBelow } from "./checkout.ts";
import { type Credential, type GitResult, isPassword, remoteEnvironment, runGit } from "./git.ts";
import { branchFor, type Routed } from "./routing.ts";

export interface CloneOrder {
  readonly repository: RepositoryConfig;
  readonly issue: Routed;
  /** An empty directory. */
  readonly path: string;
  /** The server's environment; git gets a part of it. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The value behind `$NAME`. */
  lookup(name: string): string | undefined;
  readonly timeoutMs: number;
  readonly clock: Clock;
  /** The cookie of the processes. */
  readonly runId: string;
  readonly signal: AbortSignal;
  /** Receives the progress, as lines for a person. */
  tell(line: string): void;
}

const maxSaidChars = 300;

/**
 * Makes `path` a clone with the issue's branch checked out: the remote's branch of that name if it
 * has one, else a new one from the base. No hooks, filters or submodules run, and no credential is
 * left. Rejects with `clone_failed`, `clone_timeout` or `git_not_found`; after that the content of
 * `path` is undefined.
 */
export async function cloneInto(order: CloneOrder): Promise<void> {
  const { repository, clock, tell } = order;
  const timeUp = new AbortController();
  const cancel = clock.after(order.timeoutMs, () => timeUp.abort());
  const clone = new Clone(order, AbortSignal.any([order.signal, timeUp.signal]));
  const since = clock.now();
  try {
    tell(`cloning ${repository.name} from ${repository.address.address}`);
    const checkedOut = await clone.make();
    tell(`cloned ${repository.name} in ${Math.round(clock.now() - since)} ms, ${checkedOut}`);
  } catch (error) {
    if (error instanceof SymphonyError && error.code !== "turn_cancelled") throw error;
    if (timeUp.signal.aborted && !order.signal.aborted) {
      const what = `did not end within ${order.timeoutMs} ms and was ended`;
      throw failure("clone_timeout", repository, { what, hint: "raise git.timeout_ms" });
    }
    if (order.signal.aborted) {
      throw failure("clone_failed", repository, { what: "was stopped before it ended" });
    }
    throw error;
  } finally {
    cancel();
  }
}

class Clone {
  readonly #order: CloneOrder;
  readonly #signal: AbortSignal;
  readonly #progress: CloneProgress;
  readonly #env: Readonly<Record<string, string>>;

  constructor(order: CloneOrder, signal: AbortSignal) {
    const { repository, env, runId, clock, tell } = order;
    this.#order = order;
    this.#progress = new CloneProgress(clock, (state) => tell(`${repository.name}: ${state}`));
    this.#signal = signal;
    const credential = credentialOf(order);
    this.#env = remoteEnvironment(env, repository.address, { credential, runId });
  }

  /** Resolves with a description of what is checked out. */
  async make(): Promise<string> {
    await this.#fetch();
    const { issue, repository } = this.#order;
    const base = await this.#base();
    const branch = branchFor(repository, issue, base);
    await this.#must(["check-ref-format", "--branch", branch], `has no branch name ${branch}`);
    if (base === null) {
      await this.#must(["symbolic-ref", "HEAD", `refs/heads/${branch}`], "cannot be initialized");
      return `which is empty, on the new branch ${branch}`;
    }
    const isThere = await this.#has(branch);
    const start = `refs/remotes/origin/${isThere ? branch : base}`;
    // Without --quiet git would also read what the tree says of submodules.
    const flags = ["--quiet", "--progress", isThere ? "--track" : "--no-track", "-B", branch];
    await this.#must(["checkout", ...flags, start, "--"], `cannot be checked out on ${branch}`);
    return isThere ? `on its branch ${branch}` : `on the new branch ${branch} from ${base}`;
  }

  async #fetch(): Promise<void> {
    const { repository } = this.#order;
    const { depth, address } = repository;
    const flags = ["--progress", "--no-checkout", "--no-local", "--no-hardlinks"];
    const own = ["--no-recurse-submodules", "--template=", "--origin", "origin"];
    const shallow = depth === null ? [] : ["--depth", String(depth), "--no-single-branch"];
    const what = [...flags, ...own, ...shallow];
    await this.#must(["clone", ...what, "--", address.address, "."], "cannot be cloned");
  }

  /** The branch to start from; null when the remote has no branch at all. */
  async #base(): Promise<string | null> {
    const { path, repository } = this.#order;
    const gitDir = join(path, ".git");
    const tracked = await refsBelow("refs/remotes", gitDir);
    const base = repository.baseBranch ?? (await defaultBranchOf(gitDir, "origin", tracked));
    if (base !== null && (await this.#has(base))) return base;
    if (tracked.size === 0) return null;
    throw base === null
      ? failure("clone_failed", repository, {
          what: "does not say which branch is its default",
          hint: `set base_branch of ${repository.name} in git.repositories`,
        })
      : failure("clone_failed", repository, {
          what: `has no branch ${base}`,
          hint: `correct base_branch of ${repository.name} in git.repositories`,
        });
  }

  async #has(branch: string): Promise<boolean> {
    const ref = `refs/remotes/origin/${branch}`;
    const { status } = await this.#git(["show-ref", "--verify", "--quiet", "--", ref]);
    return status === 0;
  }

  async #must(args: readonly string[], what: string): Promise<void> {
    const result = await this.#git(args);
    if (result.status !== 0) throw refused(this.#order.repository, what, result);
  }

  #git(args: readonly string[]): Promise<GitResult> {
    const { path: cwd, timeoutMs, clock } = this.#order;
    const onLine = (line: string) => this.#progress.received(line);
    return runGit({ args, cwd, env: this.#env, timeoutMs, clock, signal: this.#signal, onLine });
  }
}

function credentialOf({ repository, lookup }: CloneOrder): Credential | null {
  const { login } = repository.address;
  if (login === null) return null;
  const password = lookup(login.secret)?.trim() ?? "";
  if (isPassword(password)) return { user: login.user, password };
  throw failure("clone_failed", repository, {
    what: `needs $${login.secret}, which is not set or is not a single line`,
    hint: `symphony secrets add ${login.secret}`,
  });
}

function refused(repository: RepositoryConfig, what: string, { said }: GitResult): SymphonyError {
  const lines = said.split(/[\r\n]+/).map((line) => oneLine(line, maxSaidChars).trim());
  const why = lines.findLast((line) => /^(?:fatal|error|remote):/.test(line)) ?? lines.at(-1) ?? "";
  const denied = /denied|authenticat|could not read (?:Username|Password)|terminal prompts/i;
  const hint = denied.test(said)
    ? `check the credential of ${repository.name} in git.repositories`
    : `check ${repository.name} in git.repositories`;
  return failure("clone_failed", repository, { what: `${what}: ${why}`, hint, output: said });
}

function failure(
  code: ErrorCode,
  { name, address }: RepositoryConfig,
  { what, hint, output }: { what: string; hint?: string; output?: string },
): SymphonyError {
  return new SymphonyError(code, `the repository ${name} (${address.address}) ${what}`, {
    details: { repository: name, url: address.address, ...(output && { output }) },
    ...(hint !== undefined && { hint }),
  });
}

const pauseMs = 5_000;
const stage = /^(?:remote: )?([A-Z][a-z]+ [a-z]+):\s+(\d{1,3})%/;

/** Reduces git's many lines of progress to one every few seconds. */
export class CloneProgress {
  readonly #clock: Clock;
  readonly #tell: (state: string) => void;
  #last: number;

  constructor(clock: Clock, tell: (state: string) => void) {
    this.#clock = clock;
    this.#tell = tell;
    this.#last = clock.now();
  }

  received(line: string): void {
    const [, what, percent] = stage.exec(line) ?? [];
    const now = this.#clock.now();
    if (what === undefined || percent === undefined || now - this.#last < pauseMs) return;
    this.#last = now;
    this.#tell(`${what.toLowerCase()} ${percent}%`);
  }
}
