import { createHash } from "node:crypto";
import { lstat, mkdir, readdir, readlink, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { GitAddress, Prepare } from "../config/git.ts";
import { messageOf, SymphonyError, systemCodeOf } from "../model/errors.ts";
import { exportFiles, filesOf, type MirrorCommit } from "../repository/export.ts";
import type { Loan } from "../repository/mirrors.ts";
import { deleteTree } from "./deletion.ts";

/** What `prepare` of a repository is made for. */
export interface PrepareOrder {
  /** The repository's name in the configuration. */
  readonly name: string;
  readonly address: GitAddress;
  readonly prepare: Prepare;
  /** The commit of the base: nothing that an agent wrote decides what is run or installed. */
  readonly from: MirrorCommit;
  /** Called with progress, as lines for operators. */
  tell(line: string): void;
}

/** A command of `prepare` that failed, with the end of its output. */
interface FailedCommand {
  readonly command: string;
  readonly output: string;
}

interface PreparedDeps {
  /** Where all results are stored; made when it is needed. */
  readonly dir: string;
  /** Runs the commands in the directory, with network; resolves with the first that fails. */
  run(
    place: { readonly path: string; readonly signal: AbortSignal } & Pick<PrepareOrder, "tell">,
    prepare: Prepare,
  ): Promise<FailedCommand | null>;
}

/**
 * Results that workspaces of a repository share, such as `node_modules`: made once for each state of
 * the files that decide them, read-only for agents, and deleted when no workspace uses them and newer
 * ones exist.
 */
export class Prepared {
  readonly #deps: PreparedDeps;
  readonly #making = new Map<string, Promise<void>>();

  constructor(deps: PreparedDeps) {
    this.#deps = deps;
  }

  /**
   * Makes the results, unless they exist, and links them into the workspace at `path`. Resolves with
   * their name for the workspace's loan. Rejects with `hook_failed` when a command fails or leaves no
   * result; the next call tries again.
   */
  async lay(path: string, user: string, order: PrepareOrder): Promise<string> {
    const name = await nameOf(order);
    // Before the results are made or found: from here on they are not deleted.
    await mkdir(this.#users(name), { recursive: true, mode: 0o700 });
    await writeFile(join(this.#users(name), user), "");
    try {
      await this.#once(name, order);
      for (const result of order.prepare.results) {
        await linkInto(join(path, result), join(this.#tree(name), result), order);
      }
    } catch (error) {
      await this.release({ prepared: name, keep: user });
      throw error;
    }
    return name;
  }

  /** The directory that an agent of the workspace has to be able to read; none without results. */
  pathsOf({ prepared }: Pick<Loan, "prepared">): readonly string[] {
    return isName(prepared) ? [this.#tree(prepared)] : [];
  }

  /** For a workspace that is gone. */
  async release({ prepared, keep }: Pick<Loan, "prepared" | "keep">): Promise<void> {
    if (isName(prepared)) await rm(join(this.#users(prepared), keep), { force: true });
  }

  /** Callers that need the same results wait for one run; each tries for itself after a failure. */
  async #once(name: string, order: PrepareOrder): Promise<void> {
    for (;;) {
      if (await isThere(this.#done(name))) return;
      const running = this.#making.get(name);
      if (running === undefined) break;
      order.tell(`${order.name}: waiting for its preparation`);
      await running.catch(() => {});
      order.from.signal.throwIfAborted();
    }
    const making = this.#make(name, order).finally(() => this.#making.delete(name));
    this.#making.set(name, making);
    await making;
  }

  async #make(name: string, order: PrepareOrder): Promise<void> {
    const { prepare, from, tell } = order;
    const tree = this.#tree(name);
    // What a crash or a failure left.
    await deleteTree(dirname(tree));
    await mkdir(tree, { recursive: true, mode: 0o700 });
    await exportFiles(from, tree);
    tell(`${order.name}: preparing (${prepare.commands.join("; ")})`);
    const since = Date.now();
    const failed = await this.#deps.run({ path: tree, signal: from.signal, tell }, prepare);
    if (failed !== null) throw failure(order, `\`${failed.command}\` failed`, failed.output);
    for (const result of prepare.results) await requireDirectory(tree, result, order);
    await writeFile(this.#done(name), JSON.stringify({ repository: repositoryOf(order) }));
    tell(`${order.name}: prepared in ${Math.round((Date.now() - since) / 1_000)} s`);
    await this.#deleteOlder(name, order).catch((error: unknown) => {
      tell(`${order.name}: older preparations are not deleted: ${messageOf(error)}`);
    });
  }

  /** Those of the same repository that no workspace uses, also what a failure or a crash left. */
  async #deleteOlder(name: string, order: PrepareOrder): Promise<void> {
    const prefix = `${repositoryOf(order)}-`;
    for (const other of (await readdir(this.#deps.dir)).filter(isName)) {
      if (!other.startsWith(prefix) || other === name || this.#making.has(other)) continue;
      if ((await readdir(this.#users(other)).catch(() => [])).length > 0) continue;
      await rm(this.#done(other), { force: true });
      await deleteTree(dirname(this.#tree(other)));
      await rm(this.#users(other), { recursive: true, force: true });
    }
  }

  /** It has a directory of its own, because codex can only show that as a whole. */
  #tree(name: string): string {
    return join(this.#deps.dir, name, "tree");
  }

  #done(name: string): string {
    return join(this.#deps.dir, `${name}.done`);
  }

  /** One empty file for each workspace. */
  #users(name: string): string {
    return join(this.#deps.dir, `${name}.users`);
  }
}

/** Deeper entries are read through their parent's link. */
const scope = /^@/;

function repositoryOf({ address }: Pick<PrepareOrder, "address">): string {
  return createHash("sha256").update(address.address).digest("hex").slice(0, 16);
}

/** The same for two commits whose named files are equal. */
async function nameOf(order: PrepareOrder): Promise<string> {
  const { prepare, from } = order;
  const files = await filesOf(from, prepare.files);
  if (files.length === 0) {
    const named = prepare.files.join(", ");
    throw failure(order, `the base has none of its files: ${named}`, "");
  }
  const { commands, results } = prepare;
  const machine = [process.platform, process.arch];
  const state = JSON.stringify([files, commands, results, machine]);
  const hash = createHash("sha256").update(state).digest("hex").slice(0, 32);
  return `${repositoryOf(order)}-${hash}`;
}

function isName(name: string | undefined): name is string {
  return name !== undefined && /^[0-9a-f]{16}-[0-9a-f]{32}$/.test(name);
}

/**
 * A directory with a link for each entry of the result: an ignore rule such as `node_modules/` matches
 * directories only, and links between packages of the repository have to lead into the workspace.
 */
async function linkInto(at: string, result: string, order: PrepareOrder): Promise<void> {
  try {
    await mkdir(dirname(at), { recursive: true });
    await mkdir(at);
  } catch (error) {
    if (systemCodeOf(error) !== "EEXIST") throw error;
    order.tell(`${order.name}: the repository has ${at} itself; what was prepared is not used`);
    return;
  }
  await linkEntries(at, result, 0);
}

async function linkEntries(at: string, result: string, depth: number): Promise<void> {
  for (const entry of await readdir(result, { withFileTypes: true })) {
    const from = join(result, entry.name);
    const to = join(at, entry.name);
    if (entry.isSymbolicLink()) await symlink(await readlink(from), to);
    else if (entry.isDirectory() && depth === 0 && scope.test(entry.name)) {
      await mkdir(to);
      await linkEntries(to, from, depth + 1);
    } else await symlink(from, to);
  }
}

/** A result that is a link, or is below one, could lead to any place of the machine. */
async function requireDirectory(tree: string, result: string, order: PrepareOrder): Promise<void> {
  let path = tree;
  for (const part of result.split("/")) {
    path = join(path, part);
    const found = await lstat(path).catch(() => null);
    if (found?.isDirectory() === true) continue;
    throw failure(order, `its commands made no directory ${result}`, "");
  }
}

async function isThere(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => null)) !== null;
}

function failure({ name }: PrepareOrder, what: string, output: string): SymphonyError {
  const last = output.trimEnd().split("\n").at(-1) ?? "";
  const why = last === "" ? "" : `: ${last.slice(0, 200)}`;
  return new SymphonyError("hook_failed", `prepare of the repository ${name}: ${what}${why}`, {
    details: { repository: name, ...(output !== "" && { output }) },
    hint: `correct prepare of ${name} in git.repositories`,
  });
}
