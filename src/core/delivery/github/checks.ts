import type { GithubClient } from "../../github/client.ts";
import { ForgeError } from "../../model/forge-error.ts";
import { displayText } from "../../text/text.ts";
import type { Check } from "../forge.ts";
import {
  annotation,
  anything,
  branch,
  type CheckRun,
  checkRun,
  rule,
  status,
  type WorkflowRun,
  workflowRun,
} from "./shapes.ts";

/** What is known of the base branch. */
export interface Base {
  readonly head: string | null;
  readonly required: readonly string[] | null;
}

const maxExcerptBytes = 4 * 1024;
const maxAnnotationChars = 1_500;
const maxLogBytes = 16 * 1024;
const maxExcerpts = 10;
const maxKeptExcerpts = 500;
/** So long after its end a log that is not there will not come. */
const logsAreThereMs = 5 * 60_000;

/** Checks of a commit: check runs, commit statuses, and workflow runs that have not made a check run yet. */
export class GithubChecks {
  readonly #client: GithubClient;
  readonly #wall: () => number;
  readonly #excerpts = new Map<string, string | null>();

  constructor(client: GithubClient, wall: () => number) {
    this.#client = client;
    this.#wall = wall;
  }

  /** The newest of each name and source. Rejects if the credential may not see check runs: none seen is not none there. */
  async of(head: string): Promise<readonly Check[]> {
    const [runs, statuses, workflows] = await this.#read(head);
    const newest = newestOf(runs, workflows);
    const failed = newest.filter((run) => stateOf(run) === "failure").slice(0, maxExcerpts);
    const excerpts = new Map<string, string | null>();
    for (const run of failed) excerpts.set(run.id, await this.#excerpt(run));
    return [
      ...newest.map((run) => checkOf(run, workflows, excerpts.get(run.id) ?? null)),
      ...statuses.map((one) => ({
        name: one.context,
        state: statusStates[one.state] ?? "waiting",
        head,
        attempt: 1,
        runId: null,
        url: one.target_url ?? null,
        excerpt: isFailed(one.state) ? safe(one.description ?? "") : null,
      })),
      ...silentRuns(workflows, runs).map((run) => silentCheck(run, head)),
    ];
  }

  /** Names of the failed checks of a commit. */
  async failedOf(head: string): Promise<ReadonlySet<string>> {
    const [runs, statuses, workflows] = await this.#read(head);
    const red = newestOf(runs, workflows).filter((run) => stateOf(run) === "failure");
    const silent = silentRuns(workflows, runs).filter((run) => stateOf(run) === "failure");
    return new Set([
      ...red.map(({ name }) => name),
      ...silent.map(nameOf),
      ...statuses.filter(({ state }) => isFailed(state)).map(({ context }) => context),
    ]);
  }

  /** Tip and required checks of a branch: those of its protection and those of rulesets. */
  async base(name: string): Promise<Base> {
    const found = await orNull(
      this.#client.read(branch, "GET /repos/{owner}/{repo}/branches/{branch}", { branch: name }),
    );
    if (found === null) return { head: null, required: null };
    const protection = found.protection?.required_status_checks?.contexts;
    const classic = protection ?? (found.protected ? null : []);
    // A GitHub Enterprise Server may be older than rulesets.
    const ruled = await orNull(
      this.#client.list(rule, "GET /repos/{owner}/{repo}/rules/branches/{branch}", {
        branch: name,
      }),
      ["not_found", "refused"],
    ).catch(ifForbidden);
    const { sha } = found.commit;
    if (classic === null || ruled === "forbidden") return { head: sha, required: null };
    const contexts = (ruled ?? []).flatMap(({ type, parameters }) =>
      type === "required_status_checks" ? (parameters?.required_status_checks ?? []) : [],
    );
    return {
      head: sha,
      required: [...new Set([...classic, ...contexts.map((one) => one.context)])],
    };
  }

  /** Runs it again unless that has been done: the number of its attempt tells. */
  async rerun(check: Check): Promise<void> {
    const [kind, id] = check.runId?.split(":") ?? [];
    if (kind === "check_run") {
      const route = "POST /repos/{owner}/{repo}/check-runs/{check_run_id}/rerequest";
      await this.#client.write(anything, route, { check_run_id: id });
      return;
    }
    if (kind !== "run") {
      throw new ForgeError(
        "refused",
        `${check.name} is a commit status, which cannot be run again`,
      );
    }
    const at = { run_id: id };
    const path = "/repos/{owner}/{repo}/actions/runs/{run_id}";
    const run = await this.#client.read(workflowRun, `GET ${path}`, at);
    if (run.run_attempt > check.attempt) return;
    // GitHub would refuse it as forbidden, which sounds final: another job of the run has not ended.
    if (run.status !== "completed") {
      throw new ForgeError("refused", `${check.name} belongs to a run that is not over`, {
        final: false,
      });
    }
    // Of a cancelled run every job starts again: none of them may have failed.
    const what = check.state === "failure" ? "rerun-failed-jobs" : "rerun";
    await this.#client.write(anything, `POST ${path}/${what}`, at);
  }

  async #read(head: string) {
    const at = { ref: head };
    return await Promise.all([
      this.#client.list(checkRun, "GET /repos/{owner}/{repo}/commits/{ref}/check-runs", {
        ...at,
        filter: "latest",
        key: "check_runs",
      }),
      this.#client.list(status, "GET /repos/{owner}/{repo}/commits/{ref}/status", {
        ...at,
        key: "statuses",
      }),
      this.#workflowRuns(head),
    ]);
  }

  /** Not every token may see them, and a server may have no Actions; check runs do without. */
  async #workflowRuns(head: string): Promise<readonly WorkflowRun[]> {
    const route = "GET /repos/{owner}/{repo}/actions/runs";
    const options = { head_sha: head, key: "workflow_runs" };
    const found = await orNull(this.#client.list(workflowRun, route, options), [
      "not_found",
      "forbidden",
      "refused",
    ]);
    return found ?? [];
  }

  async #excerpt(run: CheckRun): Promise<string | null> {
    const key = `${run.id} ${run.completed_at ?? 0}`;
    const known = this.#excerpts.get(key);
    if (known !== undefined) return known;
    try {
      const text = await this.#readExcerpt(run);
      this.#remember(key, text);
      return text;
    } catch (error) {
      if (!(error instanceof ForgeError)) throw error;
      // The log comes some seconds after the end of its job.
      const isOver = this.#wall() - (run.completed_at ?? 0) > logsAreThereMs;
      if (error.final && isOver) this.#remember(key, null);
      return null;
    }
  }

  async #readExcerpt(run: CheckRun): Promise<string | null> {
    const route = "GET /repos/{owner}/{repo}/check-runs/{check_run_id}/annotations";
    const hasNotes = (run.output?.annotations_count ?? 0) > 0;
    const notes = hasNotes
      ? await this.#client.list(annotation, route, { check_run_id: run.id })
      : [];
    const said = notes
      .filter(({ annotation_level: level }) => level === "failure")
      .map(({ path, start_line: line, message }) => `${path}:${line}: ${message ?? ""}`);
    const how = run.conclusion === "failure" ? "" : `Its conclusion is ${run.conclusion}.`;
    const summary = [how, run.output?.title ?? "", run.output?.summary ?? ""].filter(Boolean);
    const head = displayText([...summary, ...said].join("\n"), maxAnnotationChars);
    if (!isOfActions(run)) return safe(head);
    const job = /\/job\/(\d+)/.exec(run.html_url ?? "")?.[1] ?? run.id;
    const log = await this.#client.logTail(`/actions/jobs/${job}/logs`, maxLogBytes);
    const lines = log.replaceAll(/^\uFEFF?\d{4}-\d\d-\d\dT[\d:.]+Z ?/gm, "");
    const room = maxExcerptBytes - Buffer.byteLength(head) - 1;
    return safe([head, endOf(lines, room)].filter(Boolean).join("\n"));
  }

  #remember(key: string, text: string | null): void {
    this.#excerpts.set(key, text);
    const [oldest] = this.#excerpts.keys();
    if (this.#excerpts.size > maxKeptExcerpts && oldest !== undefined) {
      this.#excerpts.delete(oldest);
    }
  }
}

const statusStates: Readonly<Record<string, Check["state"]>> = {
  pending: "running",
  success: "success",
  failure: "failure",
  error: "failure",
};

function isFailed(state: string): boolean {
  return statusStates[state] === "failure";
}

const conclusions: Readonly<Record<string, Check["state"]>> = {
  success: "success",
  neutral: "success",
  skipped: "skipped",
  failure: "failure",
  timed_out: "failure",
  startup_failure: "failure",
  cancelled: "cancelled",
  stale: "cancelled",
  action_required: "action_required",
};

/** A word that is not known counts as not finished, never as a success. */
function stateOf(run: {
  readonly status: string | null;
  readonly conclusion: string | null;
}): Check["state"] {
  if (run.status === "completed") return conclusions[run.conclusion ?? ""] ?? "waiting";
  return run.status === "in_progress" ? "running" : "waiting";
}

function checkOf(run: CheckRun, workflows: readonly WorkflowRun[], excerpt: string | null): Check {
  const workflow = workflowOf(run, workflows);
  // The address of a job names its run, also where the runs may not be listed.
  const linked = /\/actions\/runs\/(\d+)/.exec(run.html_url ?? "")?.[1];
  const runId = workflow?.id ?? (isOfActions(run) ? linked : undefined);
  return {
    name: run.name,
    state: stateOf(run),
    head: run.head_sha,
    attempt: workflow?.run_attempt ?? 1,
    runId: runId === undefined ? `check_run:${run.id}` : `run:${runId}`,
    url: run.html_url ?? null,
    excerpt,
  };
}

function isOfActions({ app }: CheckRun): boolean {
  return app?.slug === "github-actions";
}

function workflowOf(run: CheckRun, workflows: readonly WorkflowRun[]): WorkflowRun | undefined {
  const suite = run.check_suite?.id;
  return workflows.find((one) => suite !== undefined && one.check_suite_id === suite);
}

/**
 * One check run for each app, name, workflow and event, which is also what `gh pr checks` shows. A cancelled one is
 * omitted when any newer one has its app and name: it was replaced.
 */
function newestOf(runs: readonly CheckRun[], workflows: readonly WorkflowRun[]): CheckRun[] {
  const byAge = [...runs].sort(
    (a, b) => (a.started_at ?? 0) - (b.started_at ?? 0) || Number(a.id) - Number(b.id),
  );
  const newest = new Map<string, CheckRun>();
  const last = new Map<string, CheckRun>();
  for (const run of byAge) {
    const workflow = workflowOf(run, workflows);
    const name = JSON.stringify([run.app?.id, run.name]);
    newest.set(JSON.stringify([name, workflow?.workflow_id, workflow?.event]), run);
    last.set(name, run);
  }
  return [...newest.values()].filter((run) => {
    const isLast = last.get(JSON.stringify([run.app?.id, run.name])) === run;
    return isLast || stateOf(run) !== "cancelled";
  });
}

/**
 * Workflow runs without a check run that would show them: those that wait for a person or for a place, and those
 * that ended before a job began, as with a workflow file that GitHub cannot read or a run that another replaced.
 */
function silentRuns(
  workflows: readonly WorkflowRun[],
  runs: readonly CheckRun[],
): readonly WorkflowRun[] {
  const suites = new Set(runs.map((run) => run.check_suite?.id));
  const isNewer = (one: WorkflowRun, other: WorkflowRun) =>
    one.workflow_id === other.workflow_id && BigInt(one.id) > BigInt(other.id);
  return workflows.filter((one) => {
    const state = stateOf(one);
    if (state === "success" || state === "skipped" || suites.has(one.check_suite_id ?? undefined))
      return false;
    const isReplaced = (other: WorkflowRun) =>
      isNewer(other, one) && (state === "cancelled" || other.event === one.event);
    return one.status !== "completed" || !workflows.some(isReplaced);
  });
}

function silentCheck(run: WorkflowRun, head: string): Check {
  return {
    name: nameOf(run),
    state: stateOf(run),
    head,
    attempt: run.run_attempt,
    runId: `run:${run.id}`,
    url: run.html_url,
    excerpt:
      stateOf(run) === "failure"
        ? `No job of this workflow began (${run.conclusion}): its file may be at fault.`
        : null,
  };
}

function nameOf(run: WorkflowRun): string {
  return run.name ?? run.event;
}

/** null for a forge's answer of one of these categories: what was asked for is not there. */
async function orNull<T>(
  promise: Promise<T>,
  categories: readonly ForgeError["category"][] = ["not_found"],
): Promise<T | null> {
  try {
    return await promise;
  } catch (error) {
    if (error instanceof ForgeError && categories.includes(error.category)) return null;
    throw error;
  }
}

function ifForbidden(error: unknown): "forbidden" {
  if (error instanceof ForgeError && error.category === "forbidden") return "forbidden";
  throw error;
}

/** Plain lines, at most 4 KB of them; null for none. */
function safe(text: string): string | null {
  return endOf(displayText(text, Number.POSITIVE_INFINITY), maxExcerptBytes).trim() || null;
}

/** The last lines of a text in at most `bytes`; part of a line only if that line alone is longer. */
function endOf(text: string, bytes: number): string {
  const all = Buffer.from(text);
  if (all.length <= bytes) return text;
  const end = all.subarray(all.length - bytes);
  const line = end.indexOf("\n");
  if (line !== -1 && line < end.length - 1) return end.subarray(line + 1).toString("utf8");
  let from = 0;
  while (((end[from] ?? 0) & 0xc0) === 0x80) from++;
  return end.subarray(from).toString("utf8");
}
