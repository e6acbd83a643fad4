import type { CommentSteering } from "./comments.ts";
import { type Config, secretNamesOf } from "./config/config.ts";
import type { Conversations } from "./conversations.ts";
import type { CoreDeps, CoreOptions } from "./core.ts";
import { type ChecksDeps, failedCheck } from "./delivery/checks.ts";
import { Deliveries, type DeliveriesDeps } from "./delivery/delivery.ts";
import type { Remade } from "./delivery/held-work.ts";
import type { CommentPorts } from "./delivery/living-comment.ts";
import { type MadeDeps, madeBy } from "./delivery/made.ts";
import { Remotes } from "./delivery/remotes.ts";
import { type DeliveryStore, openDeliveryStore } from "./delivery/store.ts";
import type { Bus } from "./events/bus.ts";
import type { Closers } from "./open.ts";
import { runIdOf } from "./process/table.ts";
import { operatorIdentity } from "./repository/git.ts";
import type { Mirrors } from "./repository/mirrors.ts";
import { operatorSigner } from "./repository/signing.ts";
import type { History } from "./store/store.ts";
import { textOf } from "./text/text.ts";
import type { Tracker } from "./tracker/tracker.ts";
import type { Workspaces } from "./workspace/workspaces.ts";

/** More attempts than this are not counted in a comment. */
const attemptsCounted = 500;

interface WorkDeliveryDeps {
  readonly bus: Bus;
  readonly history: Pick<History, "lastEvent" | "attemptsOf">;
  readonly mirrors: Mirrors;
  readonly closers: Closers;
  config(): Config;
  tracker(): Tracker;
  /** Those who carry out what people ask for in the tracker. */
  users(): {
    readonly comments: Pick<CommentSteering, "run">;
    readonly conversations: Pick<Conversations, "run" | "written">;
  };
  /** As `DeliveriesDeps` has it. */
  mayWrite(): boolean;
  /** The value behind `$NAME`. */
  lookup(name: string): string | undefined;
  workspaces(): Pick<Workspaces, "borrowedBy">;
  orchestrator(): Pick<ReturnType<CoreDeps["orchestrator"]>, "post" | "state" | "applySaved">;
}

/** The way of finished work to its person; nothing is written or read before it is started. */
export function openWorkDelivery(options: CoreOptions, deps: WorkDeliveryDeps) {
  const { clock, log, env, dataDir, redactor } = options;
  const { bus, history, config, tracker, lookup, mirrors } = deps;
  const borrowedBy = (path: string) => deps.workspaces().borrowedBy(path);
  const remotes = new Remotes({
    ...{ clock, env, mirrors, config, lookup },
    learn: (secret) => redactor.add(secret),
    runId: runIdOf(dataDir, "delivery"),
    borrowedBy,
  });
  const lastMessage = (attemptId: string) => lastMessageOf(attemptId, { bus, history });
  const checks: ChecksDeps = {
    ...{ clock, env, dataDir, config, borrowedBy },
    runId: runIdOf(dataDir, "check"),
    secretNames: () => secretNamesOf(config(), tracker()),
  };
  const committer = committerOf(options);
  const store = openDeliveryStore(dataDir, () => clock.wall());
  const deliveries = new Deliveries({
    ...{ clock, log, bus, config, tracker, lastMessage, store, redact: redactor.redact },
    forgeFor: (rule) => remotes.forgeFor(rule),
    push: remotes.push,
    tryPush: (rule) => remotes.tryPush(rule),
    isContained: (rule, commit, base) => remotes.isContained(rule, commit, base),
    keep: (rule, branch, commit) => remotes.keep(rule, branch, commit),
    release: (loan) => remotes.release(loan),
    diff: (rule, work) => remotes.diff(rule, work),
    headOf: (rule, branch) => remotes.headOf(rule, branch),
    defaultBranch: (rule) => remotes.defaultBranch(rule),
    updates: {
      ...committer,
      mirror: (rule, how) => remotes.mirror(rule, how),
      contentsOf: (rule, path) => remotes.contentsOf(rule, path),
      check: (place, commands) => failedCheck(place, commands, checks),
      subscribe: (subscription, listener) => bus.subscribe(subscription, listener),
    },
    isIncluded: (rule, commit, base) => remotes.isIncluded(rule, commit, base),
    newestOf: (rule, branch) => remotes.newestOf(rule, branch),
    pullRequestFrame: (rule, base) => remotes.pullRequestFrame(rule, base),
    comments: commentPortsOf(deps),
    ...stepsOf(deps),
    mayWrite: deps.mayWrite,
    remake: (issueId, signal) => remade(issueId, deps, { log, made, signal }),
    post: (input) => deps.orchestrator().post(input),
    rests: (input) => deps.orchestrator().applySaved(input.issueId, input),
    isRunning: (issueId) => deps.orchestrator().state.issues.of("running").has(issueId),
    isEnded: (issueId) => deps.orchestrator().state.issues.of("completed").has(issueId),
    isAttached: (issueId) =>
      deps.orchestrator().state.issues.of("held").get(issueId)?.attached !== undefined,
  });
  deps.closers.push(async () => {
    await deliveries.close();
    remotes.close();
  });
  const made: MadeDeps = {
    ...{ clock, bus, config, lastMessage, redact: redactor.redact, leave: leavingIn(store) },
    deliveryOf: (issueId) => deliveries.of(issueId),
    record: (branch) => deliveries.record(branch),
    defaultBranch: (rule) => remotes.defaultBranch(rule),
    ...committer,
    baseHead: (rule, base) => remotes.headOf(rule, base),
    contentsOf: (rule, path) => remotes.contentsOf(rule, path),
    check: (turn, commands) => failedCheck(turn, commands, checks),
  };
  return { deliveries, made, remotes };
}

/** Who commits, how it is signed, and what must not be in it. */
function committerOf({ env, redactor }: Pick<CoreOptions, "env" | "redactor">) {
  return {
    identity: () => operatorIdentity(env),
    signer: () => operatorSigner(env),
    holdsSecret: (bytes: Buffer) => redactor.secretIn(bytes.toString("utf8")),
  };
}

/** What is offered after it is saved, and shown, with what was left out. */
function leavingIn(store: Pick<DeliveryStore, "of" | "save">): MadeDeps["leave"] {
  return (issueId, leftOut) => {
    const known = store.of(issueId);
    if (known && (known.leftOut ?? null) !== leftOut) store.save({ ...known, leftOut });
  };
}

/** Commits what the last attempt of a held issue left, unless an agent that was stopped may have left half of its work. */
async function remade(
  issueId: string,
  { orchestrator, history }: WorkDeliveryDeps,
  {
    log,
    made,
    signal,
  }: Pick<CoreOptions, "log"> & {
    readonly made: MadeDeps;
    readonly signal: AbortSignal;
  },
): Promise<Remade | null> {
  const row = orchestrator().state.issues.of("held").get(issueId);
  const [last] = history.attemptsOf(issueId, 1, 0).attempts;
  const workspacePath = made.deliveryOf(issueId)?.workspacePath ?? null;
  if (!row || row.attached || last?.status !== "succeeded" || workspacePath === null) return null;
  const { id: attemptId } = last;
  const tell = (line: string) => log.debug("deliver", { line });
  const left = { workspace: { path: workspacePath }, issue: row.issue, attemptId, signal, tell };
  return { attemptId, workspacePath, made: await madeBy(left, made) };
}

/** What the living comment says of an issue. */
function commentPortsOf({ orchestrator, history, bus }: WorkDeliveryDeps): CommentPorts {
  return {
    rows: () => orchestrator().state.issues,
    tokensOf: (id) =>
      history
        .attemptsOf(id, attemptsCounted, 0)
        .attempts.reduce((sum, one) => sum + one.tokens.total, 0),
    subscribe: (subscription, listener) => bus.subscribe(subscription, listener),
  };
}

/** The writes that people in the tracker cause. */
function stepsOf({
  users,
}: WorkDeliveryDeps): Pick<
  DeliveriesDeps,
  "runCommand" | "runConversation" | "conversationWritten"
> {
  return {
    runCommand: (entry) => users().comments.run(entry),
    runConversation: (entry) => users().conversations.run(entry),
    conversationWritten: (entry, written) => users().conversations.written(entry, written),
  };
}

/** The last message of the attempt's agent; null: it sent none. */
function lastMessageOf(
  attemptId: string,
  { bus, history }: Pick<WorkDeliveryDeps, "bus" | "history">,
): string | null {
  bus.flush();
  const last = history.lastEvent(attemptId, "agent.message");
  // The message of an event is one line; the whole text is in its data.
  return textOf(last?.data["text"]) ?? last?.message ?? null;
}
