import { randomUUID } from "node:crypto";
import type { z } from "zod";
import type { Api } from "../../contract/api.ts";
import { commentsView } from "../../contract/comments.ts";
import { type IssueEdit, issueView, type NewIssue } from "../../contract/issues.ts";
import type { Answer } from "../../core/agent/agent.ts";
import { requireAgent } from "../../core/agent/kinds.ts";
import { asOf } from "../../core/as-of.ts";
import type { Clock } from "../../core/clock.ts";
import type { Core } from "../../core/core.ts";
import {
  commentsOf,
  findIssueId,
  findStatus,
  freshStatus,
  isStale,
} from "../../core/find-issue.ts";
import { type Repro, reproOf } from "../../core/journal/repro.ts";
import { SymphonyError } from "../../core/model/errors.ts";
import { type Issue, normalState } from "../../core/model/issue.ts";
import { nearestName } from "../../core/text/nearest.ts";
import { displayText } from "../../core/text/text.ts";
import { editorOf } from "../../core/tracker/editor.ts";
import type { Exchange, Handlers } from "../mount.ts";
import { KeptAnswers, Prepared } from "../replies.ts";
import { attemptView, deliveryView, eventView, keptView, time } from "../views.ts";
import { orIdle, orNotMoved } from "./idle.ts";
import { detailOf, detailThen, keptDetails } from "./issue-detail.ts";
import { placeHandlers } from "./workers.ts";

/** Reads: from memory, the history and the tracker. */
function readers(core: Core, clock: Clock) {
  const details = keptDetails(core);
  const lists = new KeptAnswers<Prepared<z.output<Api["issues"]["list"]["reply"]>>>();
  const listMarks = () => [
    ...core.orchestrator.marks(),
    core.localIssues()?.version(),
    core.secretsKnown(),
  ];
  return {
    async list({ query }, exchange) {
      const marks = listMarks();
      const question = JSON.stringify(query);
      const all = await issuesIn(core, query.state ?? null);
      const page = all.slice(query.offset, query.offset + query.limit);
      const issues = page.map((issue) => ({
        ...issueView(issue),
        status: core.orchestrator.statusOf(issue.identifier)?.status ?? null,
      }));
      const reply = { issues, total: all.length, limit: query.limit, offset: query.offset };
      // Only the local tracker says whether it changed.
      if (core.localIssues() === null) return reply;
      exchange.repeat(() => repeated(lists.peek(question, listMarks())));
      return lists.get(question, marks, () => Prepared.of(reply, core.redact));
    },
    async detail({ params, query }, exchange) {
      core.bus.flush();
      if (query.at !== undefined) {
        return detailThen(core, params.id, await asOf(core, query.at));
      }
      // Before the status: what changes while the tracker is asked makes a kept reply an old one.
      const marks = details.marks();
      const known = core.orchestrator.statusOf(params.id);
      if (known === null) return detailOf(core, await findStatus(core, params.id)).detail;
      const fresh = await freshStatus(core, known);
      // The next reader asks the tracker again.
      if (fresh !== known || isStale(core, known)) return detailOf(core, fresh).detail;
      exchange.repeat(() => {
        core.bus.flush();
        return repeated(details.peek(params.id));
      });
      return details.get(params.id, known, marks);
    },
    async comments({ params }) {
      const { issue } = await findStatus(core, params.id);
      return commentsView(issue, await commentsOf(core, issue));
    },
    async repro({ params, query }) {
      const issue = await findIssueId(core, params.id);
      const since = query.since === undefined ? clock.wall() - dayMs : Date.parse(query.since);
      const { version } = core;
      const wanted = { issue: { id: issue.id, identifier: issue.identifier }, version, since };
      return reproView(await core.recorder.read((file) => reproOf(file, wanted)));
    },
    async attempts({ params, query: { limit, offset } }) {
      const { id, identifier } = await findIssueId(core, params.id);
      const { attempts, total } = core.history.attemptsOf(id, limit, offset);
      return {
        issue_identifier: identifier,
        attempts: attempts.map(attemptView),
        total,
        limit,
        offset,
      };
    },
  } satisfies Partial<Handlers<Api["issues"]>>;
}

function repeated(reply: Prepared<unknown> | undefined) {
  return reply === undefined ? null : { reply, tag: null };
}

const dayMs = 24 * 60 * 60 * 1_000;

function reproView({ parts, ...repro }: Repro) {
  if (parts.length > 0) return { ...repro, parts: parts.map((part) => ({ ...part })) };
  throw new SymphonyError(
    "not_recorded",
    `no decision about ${repro.issue.identifier} was recorded since then`,
    { hint: `symphony repro ${repro.issue.identifier} --since 7d` },
  );
}

/** Writes to symphony's own tracker, and to others as far as they can be written from here. */
function editors(core: Core, clock: Clock) {
  return {
    async create({ body }, exchange) {
      const local = core.localIssues();
      const draft = contentOf(body);
      const issue = local ? local.create(draft) : await editorOf(core.tracker()).create(draft);
      if (!local) core.orchestrator.refresh();
      locate(exchange, issue.identifier);
      return issueView(issue);
    },
    async edit({ params, body }) {
      const local = core.localIssues();
      if (local) return issueView(local.edit(params.id, contentOf(body)));
      const editor = editorOf(core.tracker());
      const { issue } = await findStatus(core, params.id);
      const edited = await editor.edit(issue, contentOf(body));
      core.finder.forget(issue.identifier);
      core.orchestrator.refresh();
      return issueView(edited);
    },
    async comment({ params, body }, exchange) {
      const local = core.localIssues();
      const author = exchange.caller?.name ?? "operator";
      if (!local) {
        const editor = editorOf(core.tracker());
        const { issue } = await findStatus(core, params.id);
        // There it is a comment of symphony's own user.
        const signed = exchange.caller === null ? body.body : `${body.body}\n\n— ${author}`;
        await editor.comment(issue, signed);
        void core.comments.written(issue.id, {
          id: randomUUID(),
          author,
          body: body.body,
        });
        locate(exchange, issue.identifier);
        const at = time(clock.wall());
        return { issue_identifier: issue.identifier, body: body.body, at };
      }
      const comment = local.comment(params.id, { author, body: body.body });
      const issue = local.get(params.id);
      const identifier = issue?.identifier ?? params.id;
      if (issue) void core.comments.written(issue.id, comment);
      locate(exchange, identifier);
      return { issue_identifier: identifier, body: comment.body, at: time(clock.wall()) };
    },
  } satisfies Partial<Handlers<Api["issues"]>>;
}

export function issueHandlers(core: Core, clock: Clock): Handlers<Api["issues"]> {
  const { orchestrator } = core;
  return {
    ...readers(core, clock),
    ...editors(core, clock),
    ...modelHandlers(core),
    ...placeHandlers(core),
    ...moveHandlers(core),
    async abort({ params, body }) {
      const work = orchestrator.abort(params.id, body.reason ?? null);
      const aborted = await orIdle(core, params.id, work, "not_running");
      return {
        issue_identifier: aborted.identifier,
        status: "stopping",
        already_stopping: aborted.alreadyStopping,
        requested_at: time(aborted.requestedWall),
      };
    },
    async deliver({ params }) {
      const { id, identifier } = await findIssueId(core, params.id);
      const delivery = deliveryView(await core.deliveries.deliver(id));
      return { issue_identifier: identifier, delivery };
    },
    async attach({ params, body }) {
      const { issue } = await findStatus(core, params.id);
      const at = await core.attachments.attach(issue, body.interrupt === true);
      return {
        issue_identifier: at.identifier,
        path: at.path,
        branch: at.branch,
        base: at.head,
        uncommitted: at.dirty,
        thread_id: at.threadId,
        agent: at.agent,
        agent_kind: at.sessions?.kind ?? null,
        agent_home: at.sessions?.home ?? null,
      };
    },
    async detach({ params, body }) {
      const { issue, status } = await findStatus(core, params.id);
      const left = await core.attachments.detach(issue, body.note ?? null, status);
      const { identifier, changedFiles, ...rest } = left;
      return { issue_identifier: identifier, changed_files: changedFiles, ...rest };
    },
    async steer({ params, headers, body }) {
      const key = headers["idempotency-key"] ?? null;
      const work = orchestrator.steer(params.id, body.message, key);
      const steered = await orIdle(core, params.id, work, "no_active_turn");
      return {
        issue_identifier: steered.identifier,
        steer_id: steered.steerId,
        attempt_id: steered.attemptId,
        turn_id: steered.turnId,
        status: steered.status,
      };
    },
    async respond({ params, body }) {
      const answer: Answer =
        body.answers === undefined
          ? { type: "decision", approve: body.decision === "approve" }
          : { type: "answers", answers: body.answers };
      const work = orchestrator.respond(params.id, answer, body.id);
      const done = await orIdle(core, params.id, work, "nothing_asked");
      return {
        issue_identifier: done.identifier,
        asked: done.needs?.prompt ?? null,
        applies: done.applies,
      };
    },
  };
}

function moveHandlers(core: Core) {
  return {
    async transition({ params, body: { to, reason = null } }) {
      const status = await findStatus(core, params.id);
      const work = core.orchestrator.transition(status.issue, to, reason);
      const done = await orNotMoved(status, to, work);
      core.finder.forget(done.identifier);
      return { issue_identifier: done.identifier, from: done.from, to: done.to, kind: done.kind };
    },
  } satisfies Partial<Handlers<Api["issues"]>>;
}

async function issuesIn(core: Core, state: string | null): Promise<readonly Issue[]> {
  const found = await listed(core, state);
  if (state !== null && found.length === 0) await requireState(core, state);
  return found;
}

async function listed(core: Core, state: string | null): Promise<readonly Issue[]> {
  const local = core.localIssues();
  if (local) return local.list(state === null ? undefined : [state]);
  const states = state === null ? core.config.current.config.tracker.activeStates : [state];
  return core.tracker().fetchIssuesByStates(states);
}

/** An empty list must not look like an answer about a state that does not exist. Rejects with `not_found`. */
async function requireState(core: Core, state: string): Promise<void> {
  const { activeStates, terminalStates } = core.config.current.config.tracker;
  const { trackerStates } = await core.orchestrator.transitions(null);
  const names = [...activeStates, ...terminalStates, ...trackerStates.map(({ name }) => name)];
  const known = new Map(names.toReversed().map((name) => [normalState(name), name]));
  if (known.has(normalState(state))) return;
  const all = [...new Set(known.values())].toReversed();
  const meant = nearestName(state, all);
  const message = `the tracker has no state "${displayText(state, stateShown)}"`;
  throw new SymphonyError("not_found", message, {
    details: { states: all },
    hint: meant === null ? `its states are ${all.join(", ")}` : `did you mean ${meant}?`,
  });
}

const stateShown = 100;

function contentOf<T extends z.output<typeof NewIssue> | z.output<typeof IssueEdit>>(body: T) {
  const { blocked_by: blockedBy, ...content } = body;
  return { ...content, ...(blockedBy && { blockedBy }) };
}

function locate(exchange: Exchange, identifier: string): void {
  exchange.setHeader("Location", `/api/v1/${encodeURIComponent(identifier)}`);
}

/** The choice of a model, also for an issue that is no longer in memory and only the tracker knows. */
function modelHandlers(core: Core) {
  return {
    async model({ params, body }) {
      const { agent } = body;
      if (agent) {
        requireAgent(core.kinds.agents, core.config.current.config, { agent, path: "agent" });
      }
      const { issue } = await findStatus(core, params.id);
      const choice = {
        model: body.model,
        effort: body.reasoning_effort ?? null,
        agent: body.agent ?? null,
      };
      const applies = await core.orchestrator.chooseModel(issue, choice);
      return {
        issue_identifier: issue.identifier,
        model: choice.model,
        reasoning_effort: choice.effort,
        agent: choice.agent,
        applies,
      };
    },
  } satisfies Partial<Handlers<Api["issues"]>>;
}

export function attemptHandlers({ history, bus, workspaces }: Core): Handlers<Api["attempts"]> {
  return {
    detail({ params, query }) {
      const attempt = history.attempt(params.aid);
      if (!attempt) {
        const message = `no attempt ${params.aid} is recorded`;
        throw new SymphonyError("attempt_not_found", message, {
          hint: "symphony state lists the issues, and symphony attempts the attempts of one",
        });
      }
      bus.flush();
      const { after_seq: afterSeq, limit } = query;
      // One row more than requested shows whether there is a next page.
      const found = history.events({ attemptId: attempt.id, afterSeq, limit: limit + 1 });
      const page = found.slice(0, limit);
      const path = attempt.workspacePath;
      const kept = path === null ? null : workspaces.kept.at(path);
      return {
        ...attemptView(attempt),
        events: page.map(eventView),
        next_after_seq: found.length > limit ? (page.at(-1)?.seq ?? null) : null,
        kept: kept?.issueId === attempt.issueId ? keptView(kept) : null,
      };
    },
  };
}
