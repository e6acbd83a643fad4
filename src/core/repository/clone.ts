import { appendFile } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../clock.ts";
import type { RepositoryConfig } from "../config/git.ts";
import { type ErrorCode, SymphonyError } from "../model/errors.ts";
import { CommandSeries } from "../process/run.ts";
import { oneLine } from "../text/text.ts";
import { borrow, noteSubmodules } from "./borrow.ts";
import { CloneProgress } from "./clone-progress.ts";
import { fillSubmodules } from "./clone-submodules.ts";
import { type Credential, isPassword } from "./credential.ts";
import { directoriesOf } from "./export.ts";
import { type GitResult, gitEnvironment, runGit } from "./git.ts";
import { noteUnchanged } from "./index-file.ts";
import { fetchLfs, LfsFailure, missingLfs } from "./lfs.ts";
import { lfsConfig, lfsFilesOf, presentOf, writeContents } from "./lfs-files.ts";
import { LfsStore } from "./lfs-store.ts";
import type { Mirror, MirrorRefs } from "./mirror.ts";
import { type FetchOrder, MirrorFailure } from "./mirror-call.ts";
import type { Loan, Mirrors, SubmoduleLoan } from "./mirrors.ts";
import { branchFor, freeBranch, type Routed } from "./routing.ts";

export interface CloneOrder {
  readonly repository: RepositoryConfig;
  readonly issue: Routed;
  /** An empty directory. */
  readonly path: string;
  readonly mirrors: Mirrors;
  /** The server's environment; git gets a part of it. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The value behind `$NAME`. */
  lookup(name: string): string | undefined;
  /** The credential where the address names none; omitted: there is none. Never rejects. */
  siteCredential?(): Promise<Credential | null>;
  readonly timeoutMs: number;
  readonly clock: Clock;
  /** The cookie of the processes. */
  readonly runId: string;
  readonly signal: AbortSignal;
  /** Receives the progress, as lines for a person. */
  tell(line: string): void;
  /** Receives each state at once, such as `receiving objects 43%`; null when it is over. Nothing of it is kept. */
  onProgress?(state: string | null): void;
  /** Whether a branch that the remote has was made for this issue; by default never. */
  isOurs?(branch: string): boolean;
  /** Branches that are recorded for other issues; they may not be on the remote yet. */
  readonly otherBranches?: readonly string[];
  /** Called once it is checked out; `base` is null for an empty repository. */
  onBranch?(branch: string, base: string | null): void;
}

const maxSaidChars = 300;
const tracked = "refs/remotes/origin/";
const maxCheckouts = 2;

/**
 * Makes `path` a clone with the issue's branch checked out: a new one from the base, or the remote's
 * branch if it was made for this issue. The objects are borrowed from a mirror of the remote. No
 * hooks, filters or submodules run, and no credential is left. Rejects with `clone_failed`,
 * `clone_timeout` or `git_not_found`; after that nothing is borrowed and the content of `path` is
 * undefined.
 */
export async function cloneInto(order: CloneOrder): Promise<Loan> {
  const { repository, clock, tell } = order;
  const timeUp = new AbortController();
  const cancel = clock.after(order.timeoutMs, () => timeUp.abort());
  const since = clock.now();
  try {
    const clone = new Clone(order, AbortSignal.any([order.signal, timeUp.signal]));
    tell(`cloning ${repository.name} from ${repository.address.address}`);
    order.onProgress?.("cloning");
    const { loan, checkedOut } = await clone.make();
    tell(`cloned ${repository.name} in ${Math.round(clock.now() - since)} ms, ${checkedOut}`);
    return loan;
  } catch (error) {
    if (error instanceof SymphonyError && error.code !== "turn_cancelled") throw error;
    if (timeUp.signal.aborted && !order.signal.aborted) {
      const what = `did not end within ${order.timeoutMs} ms and was ended`;
      throw failure("clone_timeout", repository, { what, hint: "raise git.timeout_ms" });
    }
    if (order.signal.aborted) {
      throw failure("clone_failed", repository, { what: "was stopped before it ended" });
    }
    if (error instanceof MirrorFailure) throw refused(repository, "cannot be cloned", error.result);
    throw error;
  } finally {
    cancel();
    order.onProgress?.(null);
  }
}

class Clone {
  readonly #order: CloneOrder;
  readonly #signal: AbortSignal;
  readonly #progress: CloneProgress;
  readonly #env: Readonly<Record<string, string>>;
  #credential: Credential | null;
  readonly #submodules: SubmoduleLoan[] = [];

  constructor(order: CloneOrder, signal: AbortSignal) {
    const { repository, env, clock, tell } = order;
    this.#order = order;
    this.#progress = new CloneProgress(clock, {
      tell: (state) => tell(`${repository.name}: ${state}`),
      live: (state) => order.onProgress?.(state),
    });
    this.#signal = signal;
    this.#credential = credentialOf(order);
    const reach = { path: env["PATH"], home: env["HOME"], protocol: "none" } as const;
    this.#env = gitEnvironment(reach);
  }

  /** Resolves with a description of what is checked out. */
  async make(): Promise<{ readonly loan: Loan; readonly checkedOut: string }> {
    const { mirrors, repository, siteCredential } = this.#order;
    this.#credential ??= (await siteCredential?.()) ?? null;
    const mirror = await mirrors.ensure(this.#fetchOrder());
    const refs = await mirror.refs();
    const kept = await mirrors.keep(mirror, refs.all);
    const { sparse, lfs } = repository;
    const loan = { ...kept, ...(sparse.length > 0 && { sparse }), ...(lfs && { lfs }) };
    const submodules = this.#submodules;
    try {
      const checkedOut = await this.#makeFrom(mirror, refs);
      return { loan: submodules.length === 0 ? loan : { ...loan, submodules }, checkedOut };
    } catch (error) {
      await mirrors.release({ ...loan, submodules }).catch(() => {});
      throw error;
    }
  }

  async #makeFrom(mirror: Mirror, refs: MirrorRefs): Promise<string> {
    const { issue, repository, isOurs, otherBranches = [], onBranch } = this.#order;
    const heads = headsIn(refs);
    const base = baseOf(repository, refs, heads);
    const wanted = branchFor(repository, issue, base);
    const isThere = heads.has(wanted) && isOurs?.(wanted) === true;
    const branch = isThere ? wanted : freeBranch(wanted, [...heads.keys(), ...otherBranches]);
    // Processes are searched for once, after the checkout: the next one waits for its end only.
    await using series = await CommandSeries.begin("git", this.#order.runId);
    await borrow({
      ...{ path: this.#order.path, address: repository.address.address, mirror },
      ...{ refs: { ...refs, head: base ?? refs.head }, cone: repository.sparse },
      git: (args) => this.#must(args, "cannot be initialized", series),
    });
    const format = ["check-ref-format", "--branch", branch];
    await this.#must(format, `has no branch name ${branch}`, series);
    if (base === null) {
      const head = ["symbolic-ref", "HEAD", `refs/heads/${branch}`];
      await this.#must(head, "cannot be initialized", series);
      onBranch?.(branch, null);
      return `which is empty, on the new branch ${branch}`;
    }
    const start = `${tracked}${isThere ? branch : base}`;
    await this.#requireCone(mirror, start);
    // Without --quiet git would also read what the tree says of submodules.
    const flags = ["--quiet", "--progress", isThere ? "--track" : "--no-track", "-B", branch];
    await checkouts.run(this.#signal, () =>
      this.#must(["checkout", ...flags, start, "--"], `cannot be checked out on ${branch}`, series),
    );
    await noteSubmodules(this.#order.path);
    await this.#fetchContents(mirror, start);
    await this.#fillSubmodules(mirror, start, series);
    onBranch?.(branch, base);
    return isThere ? `on its branch ${branch}` : `on the new branch ${branch} from ${base}`;
  }

  /** Files of git LFS get their content from the mirror, where it is fetched once. */
  async #fetchContents(mirror: Mirror, start: string): Promise<void> {
    const { repository, path, env, tell } = this.#order;
    if (!repository.lfs) return;
    const missing = await missingLfs(env);
    if (missing !== null) {
      const what = `has lfs: true in git.repositories, and ${missing.message}`;
      throw failure("clone_failed", repository, { what, hint: missing.hint });
    }
    const commit = await mirror.commitOf(start.slice(tracked.length));
    if (commit === null) return;
    const store = new LfsStore(mirror.path);
    const files = await lfsFilesOf(mirror.path, commit, this.#signal);
    const there = await presentOf(path, files);
    try {
      await fetchLfs(this.#fetchOrder(), store, [...there.values()]);
    } catch (error) {
      if (!(error instanceof LfsFailure)) throw error;
      const elsewhere = await mirror.textOf(start.slice(tracked.length), [".lfsconfig"]);
      const hint = /^\s*url\s*=/m.test(elsewhere ?? "")
        ? "its .lfsconfig names another server, which symphony does not use: fetch these files in hooks.after_create, without lfs"
        : `check the credential of ${repository.name} in git.repositories, and that git lfs push has been run`;
      const what = `has files of git LFS that cannot be fetched: ${error.message}`;
      throw failure("clone_failed", repository, { what, hint });
    }
    const written = await writeContents(path, there, store);
    // Not before: the checkout would have run the filter.
    await appendFile(join(path, ".git", "config"), lfsConfig);
    await noteUnchanged(join(path, ".git", "index"), path, new Set(written));
    tell(`${repository.name}: ${written.length} files of git LFS`);
  }

  /** Each submodule borrows from a mirror of its own. */
  async #fillSubmodules(mirror: Mirror, start: string, series: CommandSeries): Promise<void> {
    const { repository, path, tell, mirrors } = this.#order;
    const commit = await mirror.commitOf(start.slice(tracked.length));
    if (!repository.submodules || commit === null) return;
    const { address, sparse: cone } = repository;
    const top = { mirror: mirror.path, commit, address, cone };
    const filling = fillSubmodules(path, top, {
      mirrors,
      signal: this.#signal,
      ensure: (address) => mirrors.ensure({ ...this.#fetchOrder(), address, depth: null }),
      git: (args, cwd) =>
        this.#must(args, `has a submodule in ${cwd} that cannot be made`, series, cwd),
      tell: (line) => tell(`${repository.name}: ${line}`),
      made: (one) => this.#submodules.push(one),
    });
    await filling.catch((error: unknown) => {
      if (!(error instanceof MirrorFailure)) throw error;
      throw refused(repository, "has a submodule that cannot be fetched", error.result);
    });
  }

  #fetchOrder(): FetchOrder {
    const { repository, env, runId, timeoutMs, clock } = this.#order;
    return {
      address: repository.address,
      depth: repository.depth,
      credential: this.#credential,
      ...{ env, runId, timeoutMs, clock },
      signal: this.#signal,
      onLine: (line) => this.#progress.received(line),
    };
  }

  /** A misspelt directory would leave the agent without files. */
  async #requireCone(mirror: Mirror, start: string): Promise<void> {
    const { repository, env, tell } = this.#order;
    const { name, sparse } = repository;
    if (sparse.length === 0) return;
    const from = { mirror: mirror.path, commit: start, env, signal: this.#signal };
    const there = await directoriesOf(from, sparse);
    const missing = sparse.filter((dir) => !there.includes(dir));
    const inSettings = `sparse of ${name} in git.repositories`;
    if (there.length === 0) {
      const what = `has none of the directories of ${inSettings}: ${missing.join(", ")}`;
      throw failure("clone_failed", repository, { what, hint: `correct ${inSettings}` });
    }
    if (missing.length > 0) tell(`${name}: no directory ${missing.join(", ")}: see ${inSettings}`);
  }

  async #must(
    args: readonly string[],
    what: string,
    series: CommandSeries,
    cwd = this.#order.path,
  ): Promise<void> {
    const { timeoutMs, clock, repository } = this.#order;
    const onLine = (line: string) => this.#progress.received(line);
    const signal = this.#signal;
    const result = await runGit({
      args,
      cwd,
      env: this.#env,
      timeoutMs,
      clock,
      signal,
      series,
      onLine,
    });
    if (result.status !== 0) throw refused(repository, what, result);
  }
}

function headsIn({ all }: MirrorRefs): ReadonlyMap<string, string> {
  return new Map(
    all.flatMap(({ name, id }) =>
      name.startsWith(tracked) ? [[name.slice(tracked.length), id] as const] : [],
    ),
  );
}

/** The branch to start from; null when the remote has no branch at all. */
function baseOf(
  repository: RepositoryConfig,
  { head }: MirrorRefs,
  heads: ReadonlyMap<string, string>,
): string | null {
  const usual = ["main", "master"].find((name) => heads.has(name)) ?? null;
  const base = repository.baseBranch ?? head ?? usual;
  if (base !== null && heads.has(base)) return base;
  if (heads.size === 0) return null;
  const inSettings = `${repository.name} in git.repositories`;
  throw failure(
    "clone_failed",
    repository,
    base === null
      ? {
          what: "does not say which branch is its default",
          hint: `set base_branch of ${inSettings}`,
        }
      : { what: `has no branch ${base}`, hint: `correct base_branch of ${inSettings}` },
  );
}

/** Several checkouts at a time only slow each other down: they use the same disk. */
class Slots {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(count: number) {
    this.#free = count;
  }

  async run<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      signal.throwIfAborted();
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#free += 1;
    }
  }
}

const checkouts = new Slots(maxCheckouts);

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
  const faults = lines.filter((line) => /^(?:fatal|error|remote):/.test(line));
  // It follows the line with the reason.
  const general = /^fatal: Could not read from remote repository/;
  const exact = faults.findLast((line) => !general.test(line));
  const why = exact ?? faults.at(-1) ?? lines.at(-1) ?? "";
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
