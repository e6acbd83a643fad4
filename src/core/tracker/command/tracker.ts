// Issues of a program of the operator's, asked by JSON lines on its stdin and stdout.

import { randomUUID } from "node:crypto";
import type { TrackerConfig } from "../../config/config.ts";
import { SymphonyError } from "../../model/errors.ts";
import { type CommentList, type Issue, type IssueName, normalState } from "../../model/issue.ts";
import { oneLine } from "../../text/text.ts";
import { isOpen, waitsForBlockers } from "../blockers.ts";
import { issueTools } from "../issue-tools.ts";
import { requireState } from "../local/settings.ts";
import { blockersOf, commentList, field, instantOf, normalizeIssue, textOf } from "../normalize.ts";
import type {
  FoundIssue,
  KeyedComment,
  TimedComment,
  Tracker,
  TrackerDeps,
  TrackerWorkflow,
} from "../tracker.ts";
import { ownMarker } from "../tracker.ts";
import { TrackerProgram } from "./program.ts";
import { commentsResult, doneResult, issuesResult, wireIssue } from "./protocol.ts";
import { type CommandSettings, commandSettings } from "./settings.ts";

const mostPages = 1_000;
/** Their descriptions must fit into one line. */
const idsAtOnce = 10;
/** The scheduler reads two sets of states; more come only with edits of the configuration. */
const maxKeptLists = 8;
/** Records that were left out, in the log. */
const mostNamed = 10;

/** Throws the codes of `commandSettings`. The program is started by the first request. */
export function createCommandTracker(config: TrackerConfig, deps: TrackerDeps): Tracker {
  return new CommandTracker(commandSettings(config, deps.lookup), deps);
}

class CommandTracker implements Tracker {
  readonly kind = "command";
  readonly secretEnvNames: readonly string[];
  readonly workflow: TrackerWorkflow;
  readonly #settings: CommandSettings;
  readonly #program: TrackerProgram;
  readonly #wall: () => number;
  readonly #onMalformed: NonNullable<TrackerDeps["onMalformed"]>;
  readonly #lists = new Map<string, { readonly text: string; readonly issues: readonly Issue[] }>();

  constructor(settings: CommandSettings, deps: TrackerDeps) {
    this.#settings = settings;
    this.secretEnvNames = settings.secretNames;
    this.#program = new TrackerProgram(settings, deps);
    this.#wall = () => deps.clock.wall();
    this.#onMalformed = (count, names) => deps.onMalformed?.(count, names);
    this.workflow = {
      states: async () => settings.states,
      move: (issue, state) => this.#move(issue, state),
      link: (issue, { key, url, title }) =>
        this.#comment(issue, { key, body: `Ready for review: [${title}](${url})` }),
      comment: (issue, comment) => this.#comment(issue, comment),
    };
  }

  async fetchIssuesByStates(states: readonly string[]): Promise<readonly Issue[]> {
    if (states.length === 0) return [];
    const wanted = new Set(states.map(normalState));
    // In the spelling of the configuration: a program may compare names letter by letter.
    const known = this.#settings.states;
    const asked = states.map(
      (state) => known.find(({ name }) => normalState(name) === normalState(state))?.name ?? state,
    );
    const { issues, malformed } = this.#issues(await this.#pages(asked));
    const named = new Map<string, Issue>();
    // Two issues of one name could not be told apart: the first one has it.
    for (const issue of issues) {
      const name = issue.identifier.toLowerCase();
      if (named.has(name)) malformed.push(issue);
      else named.set(name, issue);
    }
    if (malformed.length > 0) {
      this.#onMalformed(malformed.length, malformed.slice(0, mostNamed).map(nameOfRow));
    }
    const found = [...named.values()].filter(({ state }) => wanted.has(normalState(state)));
    const key = JSON.stringify([...wanted].sort());
    const text = JSON.stringify(found);
    const last = this.#lists.get(key);
    if (last?.text === text) return last.issues;
    if (this.#lists.size >= maxKeptLists) this.#lists.clear();
    this.#lists.set(key, { text, issues: found });
    return found;
  }

  async fetchIssuesByIds(ids: readonly string[]): Promise<readonly Issue[]> {
    const unique = [...new Set(ids)];
    const byId = new Map<string, Issue>();
    for (let at = 0; at < unique.length; at += idsAtOnce) {
      for (const issue of await this.#get(unique.slice(at, at + idsAtOnce))) {
        byId.set(issue.id, issue);
      }
    }
    return unique.flatMap((id) => byId.get(id) ?? []);
  }

  async find(identifier: string): Promise<FoundIssue | null> {
    const isIt = (issue: Issue) => issue.identifier.toLowerCase() === identifier.toLowerCase();
    const issue = (await this.#get([identifier])).find(isIt);
    return issue ? { issue, scope: [] } : null;
  }

  async newComments(issue: IssueName): Promise<readonly TimedComment[]> {
    return (await this.#comments(issue)).map(({ id, author, body, by, created_at, may_write }) => ({
      ...{ id, issueId: issue.id, author, body, by, createdAt: instantOf(created_at) },
      // The program's own user may be among the persons: only its word makes a comment an order.
      ...(by === "person" && { mayWrite: may_write === true }),
    }));
  }

  async #comments(issue: IssueName) {
    const params = { issue: nameOf(issue) };
    return (await this.#program.request("comments", params, commentsResult)).comments;
  }

  async comments(issue: IssueName): Promise<CommentList> {
    const comments = await this.#comments(issue);
    const rows = comments.map(({ author, by, body, created_at }) => ({
      ...{ author, by, body },
      createdAt: instantOf(created_at),
    }));
    return commentList(rows, false);
  }

  /** Its states are those of the configuration. */
  async scopeNames() {
    await this.#works();
    return {
      teams: new Map([[null, this.#settings.states.map(({ name }) => name)]]),
      labels: null,
    };
  }

  bindTools(issue: Issue) {
    return issueTools(issue, this.#settings.states, async () => ({
      read: async () => (await this.fetchIssuesByIds([issue.id]))[0],
      comments: () => this.comments(issue),
      comment: async (body) => {
        await this.#comment(issue, { key: `agent:${randomUUID()}`, body });
        return this.#wall();
      },
      move: (state) => this.#move(issue, state),
    }));
  }

  /** It reports no changes between polls. */
  watch(): () => void {
    return () => this.#program.retire();
  }

  close(): Promise<void> {
    return this.#program.close();
  }

  async #pages(states: readonly string[]): Promise<readonly unknown[]> {
    const rows: unknown[] = [];
    const seen = new Set<string>();
    for (let after: string | null = null; seen.size < mostPages; ) {
      const page: { issues: unknown[]; next?: string | null | undefined } =
        await this.#program.request("list", { states, after }, issuesResult);
      rows.push(...page.issues);
      const next = page.next ?? null;
      if (next === null) return rows;
      if (seen.has(next)) break;
      seen.add(next);
      after = next;
    }
    const message = "the tracker's program answered list with pages that do not end";
    throw new SymphonyError("tracker_pagination", message, { details: { pages: seen.size } });
  }

  async #get(ids: readonly string[]): Promise<readonly Issue[]> {
    const answer = await this.#program.request("get", { ids }, issuesResult);
    const { issues, malformed } = this.#issues(answer.issues);
    // To omit one would mean that the issue is gone, and would stop its run.
    if (malformed.length > 0 || answer.unread?.length) {
      throw notWhole(answer.issues.find((row) => this.#issue(row) === null));
    }
    const names = new Set(issues.flatMap(({ id, identifier }) => [id, identifier.toLowerCase()]));
    // So a credential that sees no issue any more must not omit them all.
    if (!ids.every((id) => names.has(id) || names.has(id.toLowerCase()))) await this.#works();
    return issues;
  }

  /** Rejects as the first page of a list does. */
  async #works(): Promise<void> {
    const states = this.#settings.states.slice(0, 1).map(({ name }) => name);
    await this.#program.request("list", { states, after: null }, issuesResult);
  }

  async #move(issue: Issue, name: string): Promise<void> {
    const state = requireState(this.#settings.states, issue, name);
    await this.#program.request("move", { issue: nameOf(issue), state: state.name }, doneResult);
  }

  /** Marked as symphony's: the program need not know its own user. `[~name]` notifies a person where text is wiki markup. */
  async #comment(issue: IssueName, { key: name, body: text }: KeyedComment): Promise<void> {
    const marked = text.includes(ownMarker) ? text : `${text}\n\n${ownMarker}`;
    const body = marked.replaceAll("[~", "[\u2060~");
    const key = name.replaceAll(/[^\w-]/g, "-");
    await this.#program.request("comment", { issue: nameOf(issue), key, body }, doneResult);
  }

  /** Each once, without malformed ones (T-6). */
  #issues(rows: readonly unknown[]) {
    const byId = new Map<string, Issue>();
    const malformed: unknown[] = [];
    for (const row of rows) {
      const issue = this.#issue(row);
      if (issue === null) malformed.push(row);
      else byId.set(issue.id, issue);
    }
    return { issues: [...byId.values()], malformed };
  }

  #issue(row: unknown): Issue | null {
    const wire = wireIssue.safeParse(row);
    if (!wire.success) return null;
    const { data } = wire;
    const { blockers: rules } = this.#settings;
    const blockedBy = blockersOf(data.blocked_by);
    const issue = normalizeIssue({
      ...{ id: data.id, identifier: data.identifier, title: data.title, state: data.state },
      ...{ description: data["description"], priority: data["priority"], url: data["url"] },
      ...{ labels: data["labels"], assignee: data["assignee"], team: data["team"] },
      ...{ project: data["project"], parent: data["parent"], nativeRef: data["native_ref"] },
      ...{ stateType: data["state_type"], branchName: data["branch_name"], blockedBy },
      ...{ subIssues: data["sub_issues"], withheld: data["withheld"] },
      withheldBy: data["withheld_by"],
      ...{ createdAt: data["created_at"], updatedAt: data["updated_at"], assigneeId: null },
      dispatchable: data.dispatchable ?? true,
    });
    if (issue === null) return null;
    const waits = waitsForBlockers(issue, rules) && blockedBy.some((one) => isOpen(one, rules));
    const assigneeId = issue.assignee?.id ?? null;
    return { ...issue, assigneeId, dispatchable: issue.dispatchable && !waits };
  }
}

/** `row` has not the form of an issue; undefined: each has it. */
function notWhole(row: unknown): SymphonyError {
  const [fault] = wireIssue.safeParse(row).error?.issues ?? [];
  const field = fault?.path.join(".") || "id, identifier, title and state are texts";
  const message =
    row === undefined
      ? "could not read every issue"
      : `answered get with an issue that has not its form: ${field}${fault ? `: ${fault.message}` : ""}`;
  const code = row === undefined ? "tracker_request" : "tracker_response";
  return new SymphonyError(code, `the tracker's program ${message}`, {
    hint: "docs/trackers/command.md says what it has to answer; symphony doctor asks it again",
  });
}

/** Of a record that has not the form of an issue, for people. */
function nameOfRow(row: unknown): string {
  const name = [field(row, "identifier"), field(row, "id")].find((one) => textOf(one) !== null);
  return name === undefined ? "one without a name" : oneLine(String(name), 60);
}

function nameOf({ id, identifier }: IssueName) {
  return { id, identifier };
}
