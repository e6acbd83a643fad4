import { lstat } from "node:fs/promises";
import { basename, join } from "node:path";
import type { Clock } from "../clock.ts";
import type { Config } from "../config/config.ts";
import { commitId } from "../config/git.ts";
import { copyOf } from "../fleet/copy.ts";
import { messageOf, SymphonyError } from "../model/errors.ts";
import type { Issue } from "../model/issue.ts";
import { gitHead } from "../repository/survey.ts";
import { readBaseline } from "../workspace/baseline.ts";
import { type AwayRun, hookFailed, hookVariables } from "../workspace/hooks.ts";
import type { Workspace, Workspaces } from "../workspace/workspaces.ts";
import type { Book, Left, Place } from "./book.ts";
import type { Call, Reply } from "./command-line.ts";
import { requireRemote, type SshHosts } from "./hosts.ts";
import {
  foreign,
  linesOf,
  nameOf,
  notPrepared,
  notSent,
  overtaken,
  tooLarge,
  unread,
} from "./refusals.ts";
import { branchPrefix, installReturned } from "./returned.ts";
import { bootstrapped, bringBack, discard, hook, ifOwn, prepare, takeWork } from "./scripts.ts";

export interface SshWorkspacesDeps {
  readonly clock: Clock;
  readonly hosts: SshHosts;
  readonly book: Book;
  /** Of this server, for people. */
  readonly name: string;
  config(): Config;
  readonly log: {
    warn(message: string, fields?: Readonly<Record<string, unknown>>): void;
  };
}

const prepareMs = 60_000;
const copyMs = 600_000;
/** Why nothing can come back, in words. */
const notReturned: Readonly<Record<string, string>> = {
  plain: "it holds no git repository",
  unborn: "nothing is committed in it",
  shallow: "it is a shallow clone",
  submodules: "it has submodules",
};
/**
 * Workspaces on hosts. Each has a directory here, in which what comes back is examined, delivered and kept as if an agent had
 * worked in it; what has not come back stays on its host.
 */
export class SshWorkspaces {
  readonly #deps: SshWorkspacesDeps;
  /** The host on which an issue's workspace is being made. */
  readonly #making = new Map<string, { readonly host: string; tell(line: string): void }>();

  constructor(deps: SshWorkspacesDeps) {
    this.#deps = deps;
  }

  /** `local`, with the issue's workspace on this host as well. */
  on(host: string, local: Workspaces): Workspaces {
    return {
      ...local,
      ensure: async (issue, signal, tell = () => {}) => {
        await this.#leaveOthers(host, issue, tell);
        this.#making.set(issue.id, { host, tell });
        try {
          const workspace = await local.ensure(issue, signal, tell);
          if (!workspace.createdNow) await this.#open(issue.id, workspace, { signal, issue });
          return workspace;
        } finally {
          this.#making.delete(issue.id);
        }
      },
    };
  }

  requirePlace(issueId: string): Place {
    const place = this.#deps.book.placeOf(issueId);
    if (place !== null) return place;
    throw new SymphonyError("workspace_error", "the issue has no workspace on a host");
  }

  /** A call about a directory there; rejects with `workspace_error` when that has the mark of another server. */
  async #call(host: string, call: Call): Promise<Reply> {
    const { hosts, book } = this.#deps;
    await hosts.claim(host);
    const reply = await hosts.call(host, { ...call, script: ifOwn(book) + call.script });
    const [word, by = ""] = reply.words;
    if (word === "later") throw hosts.failed(host, overtaken(host, by));
    if (word === "foreign") throw foreign(host, call.args[0] ?? "", by);
    return reply;
  }

  /** Removes what was left on a host that answers again, unless something is only there. Never rejects. */
  async sweep(host: string): Promise<void> {
    const { book, log } = this.#deps;
    for (const left of book.leftOn(host)) {
      try {
        await this.#discard(left, prepareMs);
        await book.settle(left);
      } catch (error) {
        const facts = { place: nameOf(left), reason: messageOf(error) };
        log.warn("a directory that is not needed any more stays on its host", facts);
      }
    }
  }

  /** Runs a hook on the host that has the workspace; null: it is on this machine alone. */
  hook(run: AwayRun): Promise<string> | null {
    const { book } = this.#deps;
    const id = run.issue?.id ?? book.issueAt(run.cwd);
    if (id === null) return null;
    const making = this.#making.get(id);
    if (run.hook === "after_create") {
      if (making === undefined) return null;
      const workspace = { key: basename(run.cwd), path: run.cwd };
      return this.#open(id, workspace, { signal: run.signal, run }).then(() => "");
    }
    const place = book.placeOf(id);
    const { sshHosts } = this.#deps.config().worker;
    if (place === null || place.path !== run.cwd) return null;
    // Without any host attempts run here, and so do their hooks.
    if (sshHosts.length === 0 && run.hook !== "before_remove") return null;
    return run.hook === "before_remove" ? this.#remove(id, run) : this.#run(id, run);
  }

  /** Sends what has changed here, so that the next turn begins with it. */
  async send(issueId: string, signal: AbortSignal): Promise<void> {
    const place = this.requirePlace(issueId);
    if (!(await hasGit(place.path))) return;
    const { head = "" } = place.here ?? {};
    const { facts, bundle, digest } = await copyOf(place.path, {
      maxBytes: this.#deps.config().fleet.maxCopyBytes,
      known: head === "" ? [] : [head],
      signal,
    });
    const here = { head: facts.head, digest: digest.sha256 };
    if (here.head === head && here.digest === place.here?.digest) return;
    const on = facts.branch === null ? "-" : `${branchPrefix}${facts.branch}`;
    await this.#deps.book.change(issueId, { sending: here });
    const { words } = await this.#call(place.host, {
      script: takeWork,
      args: [
        place.remotePath,
        facts.head,
        on,
        facts.files ?? facts.head,
        facts.origin ?? "",
        place.seen,
      ],
      ...(bundle !== null && { input: bundle }),
      ...{ timeoutMs: copyMs, signal },
    });
    const [word, why = "", ...rest] = words;
    if (word !== "work" || why === "") {
      const isBehind = place.isBehind || word === "moved";
      await this.#deps.book.change(issueId, { isBehind, sending: null });
      throw notSent(place, word === "work" ? "git failed" : why);
    }
    await this.#deps.book.change(issueId, {
      ...{ seen: [why, ...rest].join(" "), here, sending: null },
    });
  }

  /** Brings back what has changed there. Rejects with what is in the way; then it stays there, and is tried again. */
  async back(issueId: string, tell: (line: string) => void): Promise<void> {
    const place = this.requirePlace(issueId);
    const { book, config } = this.#deps;
    const head = (await gitHead(place.path))?.head ?? null;
    const known = [head ?? "", place.seen.split(" ")[0] ?? ""].filter((id) => commitId.test(id));
    const maxBytes = config().fleet.maxCopyBytes;
    const reply = await this.#call(place.host, {
      script: bringBack,
      args: [place.remotePath, place.seen, String(maxBytes), ...new Set(known)],
      ...{ timeoutMs: copyMs, maxBytes },
    });
    const [word = "", size] = reply.words;
    if (word === "large") throw tooLarge(place, Number(size), maxBytes);
    if (word === "work") {
      const isNew = !(await hasGit(place.path));
      const next = await installReturned(place, reply, { maxBytes, isNew, tell });
      await book.change(issueId, { ...next, isBehind: false, sending: null });
      return;
    }
    // Such as a full disk: it is no success while the work has not come back.
    if (word === "unreadable") throw unread(place, size ?? "");
    const why = notReturned[word];
    if (why !== undefined) return tell(`what is in ${nameOf(place)} stays there: ${why}`);
    if (word === "gone" && place.seen !== "") tell(`${nameOf(place)} is gone`);
    await book.change(issueId, { isBehind: false, sending: null });
  }

  /** Both sides are the same when it resolves. */
  async sync(issueId: string, signal: AbortSignal, tell: (line: string) => void): Promise<void> {
    const { isBehind, sending } = this.requirePlace(issueId);
    if (isBehind || sending !== null) await this.back(issueId, tell);
    await this.send(issueId, signal).catch(async (error: unknown) => {
      // The host has more than is known here: the data directory may be an older one.
      if (!this.requirePlace(issueId).isBehind) throw error;
      await this.back(issueId, tell);
      await this.send(issueId, signal);
    });
  }

  /** An earlier host has nothing of this issue that is only there, and runs nothing of it. */
  async #leaveOthers(host: string, issue: Issue, tell: (line: string) => void): Promise<void> {
    const { book, hosts } = this.#deps;
    for (const id of book.openOn({ issueId: issue.id })) {
      const on = book.hostOf(id);
      if (on !== null && !hosts.live.has(id)) await hosts.endAll(on, [id]);
    }
    const place = book.placeOf(issue.id);
    if (place === null || place.host === host) return;
    if (place.isBehind || place.sending !== null) await this.back(issue.id, tell);
    // What cannot come back is not lost: it stays where it is.
    const isStuck = this.requirePlace(issue.id).isBehind;
    if (isStuck) this.#deps.log.warn("a workspace stays on its host", { place: nameOf(place) });
    // A host that cannot say it now is asked again when it answers.
    const isDecided =
      isStuck ||
      (await this.#discard(place, prepareMs).then(
        () => true,
        () => false,
      ));
    await (isDecided ? book.drop(issue.id) : book.leave(issue.id));
  }

  /** Makes the workspace on the host, or finds it there, and makes both sides the same. */
  async #open(
    issueId: string,
    { key, path }: Pick<Workspace, "key" | "path">,
    { signal, issue, run = null }: { signal: AbortSignal; issue?: Issue; run?: AwayRun | null },
  ): Promise<void> {
    const { book, hosts, config, log, name } = this.#deps;
    const { host, tell } = this.#making.get(issueId) ?? { host: "", tell: () => {} };
    const before = book.placeOf(issueId);
    // A directory here that was made anew has nothing to do with what an earlier one had there.
    const known = run === null && before?.host === host ? before.remotePath : "";
    await this.sweep(host);
    const args = [config().worker.root, key, known, book.server, name];
    const { words } = await hosts.call(host, {
      ...{ script: prepare(book), args, timeoutMs: prepareMs, signal },
    });
    const [created = "", remote = "", aside = ""] = words;
    if (created === "foreign") throw foreign(host, key, remote);
    if (created === "later") throw hosts.failed(host, overtaken(host, remote));
    if (created === "refused") throw notPrepared(host, remote);
    if (!/^[01]$/.test(created)) throw notPrepared(host, "its answer cannot be read");
    const remotePath = requireRemote(host, remote);
    if (basename(remotePath) !== key)
      throw notPrepared(host, `${remotePath} is outside of its root`);
    if (aside !== "") {
      tell(`a directory that was not known was moved to ${aside} on ${host}`);
      log.warn("an unknown workspace was moved aside", { host, to: aside });
    }
    if (before?.host === host && before.remotePath !== remotePath) {
      // The root is another one now. With a new directory here nothing of the earlier one comes back.
      const isOpen = before.isBehind || before.sending !== null;
      if (isOpen && run === null) await this.back(issueId, tell);
      else if (isOpen) tell(`what changed last in ${nameOf(before)} has not come back`);
      await book.leave(issueId);
    }
    const isKnown = before !== null && remotePath === known && created === "0";
    const unknown = { host, path, remotePath, seen: "", here: null, sending: null };
    await book.put(
      issueId,
      isKnown ? { ...before, path } : { ...unknown, isBehind: created === "0" },
    );
    if (created === "0") return this.sync(issueId, signal, tell);
    let end = "done";
    try {
      await this.send(issueId, signal);
      const made = run ?? (await this.#createdAgain(path, { issue: issue ?? null, signal }));
      if (made.script === null) await this.back(issueId, tell);
      else await this.#run(issueId, made);
    } catch (error) {
      end = "failed";
      await book.drop(issueId);
      throw error;
    } finally {
      const last = { script: bootstrapped, args: [remotePath, end], timeoutMs: prepareMs };
      await this.#call(host, last).catch((error: unknown) => {
        if (end === "done") throw error;
      });
    }
  }

  /** `after_create` on a further host, unless it is what made the repository that was just sent. */
  async #createdAgain(cwd: string, of: Pick<AwayRun, "issue" | "signal">): Promise<AwayRun> {
    const { config, clock } = this.#deps;
    const { afterCreate, timeoutMs } = config().hooks;
    const isSent = (await hasGit(cwd)) && (await readBaseline(cwd))?.loan == null;
    return {
      ...{ hook: "after_create", script: isSent ? null : afterCreate },
      ...{ cwd, timeoutMs, clock, ...of },
    };
  }

  async #run(issueId: string, run: AwayRun): Promise<string> {
    const { script, timeoutMs, signal } = run;
    if (script === null) return "";
    if (run.hook === "after_run") await this.sync(issueId, signal, () => {});
    const place = this.requirePlace(issueId);
    const { hosts, book } = this.#deps;
    const attempt = `${run.attempt?.attemptId ?? issueId}-${run.hook}`;
    await book.began(attempt, { host: place.host, issueId });
    await book.change(issueId, { isBehind: true });
    hosts.live.add(attempt);
    try {
      const { words, data } = await this.#call(place.host, {
        script: hook,
        args: [place.remotePath, book.cookieOf(attempt), script],
        input: linesOf(hookVariables({ ...run, cwd: place.remotePath })),
        ...{ timeoutMs, signal, maxBytes: 4_096 },
        late: new SymphonyError("hook_timeout", `${run.hook} did not end within ${timeoutMs} ms`, {
          details: { hook: run.hook, timeoutMs },
        }),
      });
      await book.ended([attempt]);
      const output = data.toString();
      if (words[0] !== "0")
        throw hookFailed(run, { exitCode: Number(words[0]), signal: null, output });
      await this.back(issueId, () => {});
      return output;
    } finally {
      hosts.live.delete(attempt);
      if (book.hostOf(attempt) !== null) await hosts.endAll(place.host, [attempt]).catch(() => {});
    }
  }

  /** The hook, what it left, and then the directory, unless something is only there. */
  async #remove(issueId: string, run: AwayRun): Promise<string> {
    const { book, log } = this.#deps;
    const tell = () => {};
    const { isBehind } = this.requirePlace(issueId);
    await this.#run(issueId, run).catch((error: unknown) =>
      log.warn("before_remove failed", { reason: messageOf(error) }),
    );
    try {
      await this.back(issueId, tell);
      await this.#discard(this.requirePlace(issueId), copyMs);
    } catch (error) {
      const place = nameOf(this.requirePlace(issueId));
      log.warn("a workspace stays on its host", { place, why: messageOf(error) });
      await book.leave(issueId);
      if (!isBehind || !(error instanceof SymphonyError)) throw error;
      const message = `${error.message}; the last changes in ${place} have not come back, and stay there`;
      throw new SymphonyError(error.code, message, { cause: error });
    }
    await book.drop(issueId);
    return "";
  }

  /** Removes what is on the host, unless something is only there. */
  async #discard(place: Left, timeoutMs: number): Promise<void> {
    const args = [place.remotePath, place.seen];
    const { words } = await this.#call(place.host, { script: discard, args, timeoutMs });
    const [word = "", why = ""] = words;
    if (word === "kept")
      this.#deps.log.warn("a workspace stays on its host", { place: nameOf(place), why });
  }
}

async function hasGit(path: string): Promise<boolean> {
  return (await lstat(join(path, ".git")).catch(() => null)) !== null;
}
