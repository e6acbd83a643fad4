import { randomUUID } from "node:crypto";
import type { Clock } from "./clock.ts";
import type { Deliveries } from "./delivery/delivery.ts";
import { messageOf as messageOfError, SymphonyError } from "./model/errors.ts";
import type { Attached, Issue, IssueStatus } from "./model/issue.ts";
import type { Input } from "./orchestrator/messages.ts";
import type { Orchestrator } from "./orchestrator/orchestrator.ts";
import { gitHead } from "./repository/survey.ts";
import type { History } from "./store/store.ts";
import { cut, plainName } from "./text/text.ts";
import type { ChangedFile, WorkDiff } from "./workspace/diff.ts";
import type { WorkspaceOverview } from "./workspace/overview.ts";

export interface AttachDeps {
  readonly orchestrator: Orchestrator;
  readonly history: Pick<History, "addSteer" | "dropSteer" | "undelivered" | "latestAttempt">;
  readonly workspaces: Pick<WorkspaceOverview, "pathOf" | "git">;
  readonly deliveries: Pick<Deliveries, "settled" | "ready">;
  readonly clock: Clock;
  /** The kind of an agent, and where its program keeps the sessions of a workspace; null: unknown. */
  sessionsOf(agent: string, workspace: string): Promise<Sessions>;
  redact(text: string): string;
}

interface Sessions {
  readonly kind: string;
  readonly home: string | null;
}

type Named = Pick<Issue, "id" | "identifier">;

interface AttachedTo extends Attached {
  readonly identifier: string;
  readonly branch: string | null;
  /** The agent's thread, which continues when the person leaves; null: none was begun. */
  readonly threadId: string | null;
  /** The agent that worked on the issue last. */
  readonly agent: string | null;
  readonly sessions: Sessions | null;
}

interface Handed {
  readonly attached: Attached;
  /** null: it is not known. */
  readonly work: WorkDiff | null;
  readonly note: string | null;
}

interface DetachedFrom {
  readonly identifier: string;
  /** False: another request had queued the issue before, and only the note was added. */
  readonly attached: boolean;
  /** How many files the person changed; null: the workspace has no commit to compare with. */
  readonly changedFiles: number | null;
  /** The end of the diff is left out of the agent's next turn. */
  readonly truncated: boolean;
}

/** The part of a diff that an agent reads, in characters. */
const maxPatchChars = 16_000;
const maxNamed = 100;
/** An agent works on the issue, or will without a person. */
const agentComes: ReadonlySet<IssueStatus> = new Set(["queued", "running", "retrying"]);

/**
 * People who work in an issue's workspace themselves: the issue is held meanwhile, and what they
 * changed and say is the agent's next turn.
 */
export class Attachments {
  readonly #deps: AttachDeps;

  constructor(deps: AttachDeps) {
    this.#deps = deps;
  }

  /**
   * Holds the issue; resolves when nothing of symphony works in its workspace. Attached again, the commit
   * to compare with stays the first one. Rejects with `workspace_not_found`, `transition_not_allowed`,
   * and without `interrupt` with `turn_running`; then nothing has changed. Where a merge that was cut off
   * cannot be finished it rejects too, and the issue stays held.
   */
  async attach(issue: Named, interrupt: boolean): Promise<AttachedTo> {
    const { orchestrator, workspaces, deliveries, history } = this.#deps;
    const path = await workspaces.pathOf(issue);
    const running = orchestrator.state.issues.of("running").get(issue.id);
    const input = { type: "operator.attached", issueId: issue.id } as const;
    const unknown: Attached = { path, head: null, dirty: false };
    if (running) {
      await orchestrator.apply({ ...input, interrupt, attached: unknown });
      await orchestrator.gone(running.attemptId);
    }
    // Held first: from then on no update of the branch begins, and one that runs is waited for.
    await this.#saved({ ...input, interrupt: false, attached: unknown });
    try {
      await deliveries.settled(issue.id);
      await deliveries.ready(issue.id);
    } catch (error) {
      throw stillHeld(issue, error);
    }
    const at = await gitHead(path);
    const head = at?.head ?? null;
    const dirty = head !== null && (await this.#since(path, head)).files.length > 0;
    await this.#saved({ ...input, interrupt: false, attached: { path, head, dirty } });
    const latest = history.latestAttempt(issue.id);
    const agent = latest?.agent ?? null;
    return {
      ...(this.#attached(issue.id) ?? { path, head, dirty }),
      identifier: issue.identifier,
      branch: at?.branch ?? null,
      threadId: latest?.threadId ?? null,
      agent,
      sessions: agent === null ? null : await this.#deps.sessionsOf(agent, path),
    };
  }

  /**
   * Queues the issue again; what the person changed since `attach`, and their note, open the next turn.
   * Where another request has queued it meanwhile, the note alone is added, once. Durable when it resolves. Rejects with `not_attached`, `workspace_not_found`, `no_repository` when
   * the commit to compare with is gone; then nothing has changed.
   */
  async detach(
    issue: Named,
    note: string | null,
    status: IssueStatus | null,
  ): Promise<DetachedFrom> {
    const attached = this.#attached(issue.id);
    if (attached === null) return this.#noteOnly(issue, note, status);
    const { path, head } = attached;
    const work = head === null ? null : await this.#since(path, head);
    const { truncated, undo } = this.#hand(issue, { attached, work, note });
    try {
      const input = { type: "operator.detached", issueId: issue.id } as const;
      await this.#deps.orchestrator.applySaved(issue.id, input);
    } catch (error) {
      undo();
      throw error;
    }
    const { identifier } = issue;
    return { identifier, attached: true, changedFiles: work?.files.length ?? null, truncated };
  }

  /** What the person changed went to the agent with the request that queued the issue. */
  #noteOnly(
    { id, identifier }: Named,
    note: string | null,
    status: IssueStatus | null,
  ): DetachedFrom {
    const { history } = this.#deps;
    if (note === null || status === null || !agentComes.has(status)) throw notAttached(identifier);
    const message = `A person who worked in your workspace, and has left it, says: ${note}`;
    const isKnown = history.undelivered(id).some((one) => one.message === message);
    if (!isKnown) this.#add(id, message);
    return { identifier, attached: false, changedFiles: null, truncated: false };
  }

  /**
   * For an issue that is queued without `detach`: what the person changed opens the next turn all the same.
   * Resolves with what takes that back; does nothing where no person is attached.
   */
  async handOver(issue: Named): Promise<() => void> {
    const attached = this.#attached(issue.id);
    if (attached === null) return () => {};
    const { path, head } = attached;
    const work = head === null ? null : await this.#since(path, head).catch(() => null);
    return this.#hand(issue, { attached, work, note: null }).undo;
  }

  #hand(issue: Named, { attached, work, note }: Handed) {
    const { history, redact } = this.#deps;
    // Redacted before it is cut: half a secret would not be recognized.
    const patch = redact(work?.patch ?? "");
    const truncated = work !== null && (work.truncated || patch.length > maxPatchChars);
    const shown = work && { ...work, patch: cut(patch, maxPatchChars), truncated };
    const id = this.#add(issue.id, messageOf(attached, shown, note));
    return { truncated, undo: () => history.dropSteer(id) };
  }

  /** Resolves with the id of guidance for the next turn. */
  #add(issueId: string, message: string): string {
    const { history, clock } = this.#deps;
    const id = `str_${randomUUID()}`;
    const rest = { key: null, at: clock.wall(), delivered: false };
    history.addSteer({ id, issueId, attemptId: "", turnId: "", message, ...rest });
    return id;
  }

  #saved(input: Extract<Input, { type: "operator.attached" }>): Promise<void> {
    return this.#deps.orchestrator.applySaved(input.issueId, input);
  }

  #attached(issueId: string): Attached | null {
    return this.#deps.orchestrator.state.issues.of("held").get(issueId)?.attached ?? null;
  }

  #since(path: string, head: string): Promise<WorkDiff> {
    return this.#deps.workspaces.git.diffSince(path, head);
  }
}

/** What was begun in the workspace cannot be finished, so a person cannot come yet. */
function stillHeld({ identifier }: Named, error: unknown): SymphonyError {
  const hint = error instanceof SymphonyError ? error.hint : null;
  const back = `symphony attach ${identifier} --done hands it back to its agent`;
  const message = `${identifier} is held, but not ready: ${messageOfError(error)}`;
  return new SymphonyError("transition_not_allowed", message, {
    cause: error,
    hint: hint === null ? back : `${hint}; ${back}`,
  });
}

function notAttached(identifier: string): SymphonyError {
  return new SymphonyError("not_attached", `no person is attached to ${identifier}`, {
    hint: `symphony attach ${identifier}`,
  });
}

/** What the agent reads: who changed what, the person's note, and the diff. */
function messageOf(
  { head, dirty }: Attached,
  work: Pick<WorkDiff, "files" | "patch" | "truncated"> | null,
  note: string | null,
): string {
  const parts = ["A person worked in your workspace themselves and has left it; continue."];
  if (note !== null) parts.push(`Their note: ${note}`);
  if (work === null) {
    parts.push("What they changed is not known: the workspace has no commit to compare with.");
  } else if (work.files.length === 0) {
    parts.push("They changed no file.");
  } else {
    const since = `since the commit ${head?.slice(0, 10)}`;
    const before = dirty ? "; it includes what was not committed when they came" : "";
    const rest = work.truncated ? "; its end is left out, so read the files" : "";
    parts.push(
      `The files are as they left them: build on their changes. Changed ${since}${before}:`,
      namesOf(work.files),
      `As a diff${rest}:`,
      work.patch,
    );
  }
  return parts.join("\n\n");
}

function namesOf(files: readonly ChangedFile[]): string {
  const named = files.slice(0, maxNamed).map(({ path }) => `- ${plainName(path)}`);
  const more = files.length - named.length;
  return [...named, ...(more > 0 ? [`- and ${more} more`] : [])].join("\n");
}
