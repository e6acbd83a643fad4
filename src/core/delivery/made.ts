import { lstat } from "node:fs/promises";
import type { EndedTurn, Unready } from "../attempt/turns.ts";
import type { Clock } from "../clock.ts";
import type { Config } from "../config/config.ts";
import type { RepositoryConfig } from "../config/git.ts";
import { messageOf, SymphonyError } from "../model/errors.ts";
import type { Made } from "../orchestrator/messages.ts";
import { gitDirOf, remotesOf, withoutCredentials } from "../repository/checkout.ts";
import { commitWork, type LeftOut } from "../repository/commit.ts";
import type { Identity } from "../repository/git.ts";
import type { Contents } from "../repository/lfs.ts";
import type { LfsStore } from "../repository/lfs-store.ts";
import { type Elsewhere, examineOffer, workElsewhere } from "../repository/offer.ts";
import { repositoryFor, repositoryOfWork } from "../repository/routing.ts";
import { type Signer, SigningFailure } from "../repository/signing.ts";
import { gitHead } from "../repository/survey.ts";
import type { EventSink } from "../store/store.ts";
import { oneLine, plainName } from "../text/text.ts";
import { readBaseline, readMerging, writeLeftOut, writeMerging } from "../workspace/baseline.ts";
import type { BranchBook } from "../workspace/fill.ts";
import { findingsIn, requireLentObjects, workIn } from "../workspace/work.ts";
import type { Checked, FailedCheck } from "./checks.ts";
import type { Delivered } from "./delivered.ts";
import { maxPathChars, mostNamed, namedOf, offerRules, refusalOf } from "./examined.ts";
import { commandsFor } from "./generated.ts";
import { commitMessage } from "./wording.ts";

export interface MadeDeps {
  readonly clock: Clock;
  readonly bus: EventSink;
  config(): Config;
  deliveryOf(issueId: string): Delivered | null;
  readonly record: BranchBook["record"];
  /** Keeps what the newest commit of an issue did not take, in words; null: it took everything. */
  leave(issueId: string, leftOut: string | null): void;
  /** The branch that the remote names as its default; null if it names none, or is not known. */
  defaultBranch(repository: RepositoryConfig): Promise<string | null>;
  /** Author and committer where the configuration names none. */
  identity(): Promise<Identity>;
  /** How the operator's git signs. */
  signer(): Promise<Signer>;
  /** The newest commit of the base that symphony fetched; null: none is known. */
  baseHead(repository: RepositoryConfig, base: string): Promise<string | null>;
  lastMessage(attemptId: string): string | null;
  /** The contents of git LFS that the workspace has; null: it has pointers only. */
  contentsOf(repository: RepositoryConfig, path: string): Promise<Contents | null>;
  /** Removes secrets from the message of a commit. */
  redact(text: string): string;
  /** What kind of secret the bytes hold; null: none that is known. */
  holdsSecret(bytes: Buffer): string | null;
  /** Runs `delivery.checks`; resolves with the first that fails, and null when all succeed. */
  check(turn: LeftWork, commands: readonly string[]): Promise<FailedCheck | null>;
}

/** What is needed of the turn. */
export type LeftWork = Omit<EndedTurn, "workspace" | "moved"> & Pick<Checked, "workspace">;

/** The end of the output of a failed check, for a person. */
const maxEvidenceChars = 400;

/**
 * Commits what a turn left and decides what becomes of it; null: nothing is offered for this issue,
 * and its agent continues until it moves the issue itself. Rejects when the work cannot be read.
 */
export async function madeBy(turn: LeftWork, deps: MadeDeps): Promise<Made | Unready | null> {
  const { issue, workspace, signal } = turn;
  const { delivery, git, tracker } = deps.config();
  const thenDeliver = `then symphony deliver ${issue.identifier}`;
  const known = await knownOf(turn, deps);
  const repository = repositoryOfWork(issue, known, git.repositories);
  if (tracker.onSuccess.kind === "none") return null;
  if (delivery.mode === "none" || repository === null || known?.branch == null) {
    const work = await workIn(workspace.path, signal);
    return work.length > 0 ? { kind: "changed", head: null } : { kind: "unchanged" };
  }
  try {
    await requireLentObjects(workspace.path);
  } catch (error) {
    // What is foreign is refused; anything else is a repository that cannot be read.
    if (!(error instanceof SymphonyError)) return notReadable(error, turn);
    const how = "take what is foreign out of its .git/objects (info/alternates and links)";
    return notCommitted(messageOf(error), `${how}, ${thenDeliver}`);
  }
  const lfs = await deps.contentsOf(repository, workspace.path);
  const committed = await commit(turn, known, deps, lfs?.store ?? null).catch((error: unknown) => {
    if (error instanceof SigningFailure) return notSigned(error, thenDeliver);
    if (isBroken(error)) return notReadable(error, turn);
    throw error;
  });
  if (committed.kind !== "committed") return committed;
  const { head, leftOut } = committed;
  const baseline = await readBaseline(workspace.path);
  const base =
    (known.base !== null ? await deps.baseHead(repository, known.base) : null) ??
    baseline?.head ??
    null;
  if (head === null) return { kind: "unchanged" };
  if (base === null) {
    const reason = `not pushed: ${repository.name} is empty; next: push a first commit to its default branch, ${thenDeliver}`;
    return { kind: "refused", reason, next: "deliver" };
  }
  const rules = offerRules(delivery, { lfs, holdsSecret: deps.holdsSecret });
  const where = { path: workspace.path, base, head, signal };
  // Also where the base was rewritten: what its branch has at the remote is there, whoever wrote it.
  const there = [known.pushed, await deps.baseHead(repository, known.branch)];
  const examined = there.filter((commit) => commit !== null);
  const offered = await examineOffer({ ...where, rules, examined });
  const elsewhere = await workElsewhere(where, baseline);
  if (offered.commits === 0 || head === known.head) {
    // A later round may leave everything as it is, and only answer.
    const why = known.head === null ? whyNothing(leftOut, elsewhere) : null;
    if (why === null) return { kind: "unchanged" };
    return { kind: "refused", reason: `${why}; ${mendIt(turn)}`, next: "deliver" };
  }
  if (elsewhere.refs.includes(known.branch)) {
    const reason = `not pushed, the work stays in its workspace: ${known.branch} has commits that the commit checked out there (${head.slice(0, 10)}) does not have; merge one into the other; ${mendIt(turn)}`;
    return { kind: "refused", reason, next: "deliver" };
  }
  if (offered.objections.length > 0) {
    const how = `next: allow it in the settings of delivery, or take it out of the commits in ${workspace.path}, ${thenDeliver}`;
    const reason = `${refusalOf(offered.objections)}; ${how}`;
    return { kind: "refused", reason, next: "deliver" };
  }
  if (offered.isUnrelated) return unrelated(turn, known.base ?? base, baseline?.head ?? base);
  const failed = await deps.check(turn, delivery.checks);
  if (failed !== null) return redCheck(failed, turn);
  return { kind: "changed", head, from: offered.base };
}

/** Why there is nothing to offer although something was made; null: nothing was. */
function whyNothing(leftOut: readonly LeftOut[], { refs, stashes }: Elsewhere): string | null {
  if (leftOut.length > 0) return `nothing was committed: ${leftOutOf(leftOut)}`;
  const named = refs.slice(0, mostNamed).map((ref) => oneLine(ref, maxPathChars));
  const stash = stashes === 0 ? [] : [stashes === 1 ? "a stash" : `${stashes} stashes`];
  const places = [...named, ...stash];
  return places.length === 0
    ? null
    : `nothing is offered: what was made is in ${places.join(", ")} of its workspace, and not in what is checked out`;
}

/** What no commit takes along, in words. */
function leftOutOf(all: readonly LeftOut[]): string {
  const texts = all.map(({ path, why }) => `${oneLine(path, maxPathChars)}: ${why}`);
  return namedOf(texts, "; ");
}

/** A workspace of an earlier release has no record of its branch: its repository tells. */
async function knownOf(
  { issue, workspace: { path } }: LeftWork,
  deps: MadeDeps,
): Promise<Delivered | null> {
  const known = deps.deliveryOf(issue.id);
  if (known?.branch != null) return known;
  const repository = repositoryFor(issue, deps.config().git.repositories);
  const gitDir = repository && (await gitDirOf(path));
  if (gitDir === null || repository === null) return known;
  const remotes = await remotesOf(gitDir);
  const own = withoutCredentials(repository.address.address);
  const isOwn = remotes.some(({ name, url }) => name === "origin" && url !== null && url === own);
  const branch = isOwn ? ((await gitHead(path))?.branch ?? null) : null;
  if (branch === null) return known;
  const base = repository.baseBranch ?? (await deps.defaultBranch(repository));
  if (branch !== base) deps.record({ issue, repository: repository.name, branch, base, path });
  return deps.deliveryOf(issue.id);
}

interface Commit {
  readonly kind: "committed";
  readonly head: string | null;
  /** What differs and no commit takes along. */
  readonly leftOut: readonly LeftOut[];
}

type Refused = Extract<Made, { readonly kind: "refused" }>;

/** The work stays as it is; what mends it is outside of the workspace. */
function notSigned({ message }: SigningFailure, thenDeliver: string): Refused {
  const how = "mend the signing of your git (user.signingkey, gpg.format)";
  return notCommitted(`it cannot be signed: ${message}`, `${how}, ${thenDeliver}`);
}

function notCommitted(why: string, next: string): Refused {
  const reason = `not committed, the work stays in its workspace: ${why}; next: ${next}`;
  return { kind: "refused", reason, next: "deliver" };
}

/** What the machine lacks for now, in the words of the system. */
const shortage = /No space left|quota|memory|Too many open|temporarily unavailable|Input\/output/i;

/** Another attempt would let the agent do its work once more, in the same repository that git cannot use. */
function isBroken(error: unknown): boolean {
  if (!(error instanceof SymphonyError)) return false;
  const { code, message } = error;
  return (
    code === "no_repository" || (/: (?:fatal|error): /.test(message) && !shortage.test(message))
  );
}

async function notReadable(
  error: unknown,
  { issue, workspace: { path } }: LeftWork,
): Promise<Refused> {
  const { identifier } = issue;
  const found = await lstat(path).catch(() => null);
  if (!found?.isDirectory()) {
    const first = found === null ? "" : `remove ${path}, then `;
    const next = `next: ${first}symphony transition ${identifier} queued, to begin in a new one`;
    return {
      kind: "refused",
      reason: `its workspace is gone, and the agent's work with it: ${path} is no directory any more; ${next}`,
    };
  }
  const how = `mend the .git of ${path}, as git status there shows, then symphony deliver ${identifier}`;
  const anew = `symphony workspaces remove ${identifier} --force, then symphony transition ${identifier} queued, to begin anew`;
  return notCommitted(messageOf(error), `${how}; or ${anew}`);
}

type Committed = Commit | Unready;

async function commit(
  turn: LeftWork,
  known: Delivered,
  deps: MadeDeps,
  lfs: LfsStore | null,
): Promise<Committed> {
  const { issue, workspace, attemptId, signal, tell } = turn;
  const config = deps.config();
  const { redact } = deps;
  const summary = deps.lastMessage(attemptId);
  const { settled, cone } = await findingsIn(workspace.path, signal);
  const merge = await readMerging(workspace.path);
  const generated = (merge?.generated ?? []).map(plainName);
  const { commands } = commandsFor(generated, config.delivery.regenerate);
  const failed = commands.length === 0 ? null : await deps.check(turn, commands);
  if (failed !== null) return redCheck(failed, turn);
  const author = config.delivery.author ?? (await deps.identity());
  const signer = config.delivery.signCommits ? await deps.signer() : null;
  const result = await commitWork({
    path: workspace.path,
    message: await commitMessage(config, { issue, summary, branch: known.branch, author, redact }),
    author,
    signer,
    wall: deps.clock.wall(),
    base: (await readBaseline(workspace.path))?.head ?? null,
    settled,
    cone,
    lfs,
    merge,
    signal,
  });
  // The commit has the base now.
  if (merge !== null && result.outcome !== "unfinished") await writeMerging(workspace.path, null);
  if (result.outcome !== "unfinished") {
    await writeLeftOut(workspace.path, [...result.leftOut]);
    deps.leave(issue.id, result.leftOut.length === 0 ? null : leftOutOf(result.leftOut));
  }
  switch (result.outcome) {
    case "clean":
      return { kind: "committed", head: result.head, leftOut: result.leftOut };
    case "unfinished":
      return notOfferable(turn, result.what, {
        verb: "committed",
        how: "Finish or abort it, and leave no conflict markers in the files.",
      });
    case "committed": {
      const { head, files, leftOut } = result;
      for (const { path, why } of leftOut)
        tell(`not committed: ${oneLine(path, maxPathChars)}: ${why}`);
      const less = leftOut.length === 0 ? "" : `; left out: ${leftOutOf(leftOut)}`;
      deps.bus.publish({
        type: "work.committed",
        ...{ issueId: issue.id, issueIdentifier: issue.identifier, attemptId },
        message: `${files} ${files === 1 ? "file" : "files"} committed as ${head.slice(0, 10)}${less}`,
        data: { commit: head, files, left_out: leftOut.length },
      });
      return { kind: "committed", head, leftOut };
    }
  }
}

/** Where a person mends what no turn did. */
function mendIt({ issue: { identifier: name }, workspace }: LeftWork): string {
  return `next: mend it in ${workspace.path}, then symphony deliver ${name}, or symphony transition ${name} queued for more turns`;
}

/** The agent's next turn mends it: `how`. */
function notOfferable(
  turn: LeftWork,
  what: string,
  { verb, how }: { readonly verb: string; readonly how: string },
): Unready {
  return {
    kind: "unready",
    reason: `the work cannot be offered: ${what}; ${mendIt(turn)}`,
    prompt: `Your work cannot be ${verb} yet: ${what}. ${how} Then end the turn.`,
  };
}

/** `from`: the commit that the work began with. */
function unrelated(turn: LeftWork, base: string, from: string): Unready {
  const what = `its commits have no history in common with ${base}, so they cannot be merged`;
  const how = `Put it on top of that history again, for example with git reset --soft ${from} and a new commit.`;
  return notOfferable(turn, what, { verb: "offered", how });
}

function redCheck({ command, output }: FailedCheck, turn: LeftWork): Unready {
  const shown = oneLine(output.trim().slice(-maxEvidenceChars), maxEvidenceChars);
  return {
    kind: "unready",
    reason: `not pushed, the work stays in its workspace: the check \`${oneLine(command, maxPathChars)}\` fails (delivery.checks): ${shown}; ${mendIt(turn)}`,
    prompt: `Before your work is offered, this command must succeed on it, and it failed:

    ${command}

The end of its output:

${output}

Mend the cause, not the check. Then end the turn.`,
  };
}
