import { mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { systemClock } from "../core/clock.ts";
import { understandVariable } from "../core/config/config.ts";
import type { Core } from "../core/core.ts";
import { createLogger, rotatingFileSink } from "../core/events/log.ts";
import { findStatus } from "../core/find-issue.ts";
import type { Kinds } from "../core/kinds.ts";
import { SymphonyError } from "../core/model/errors.ts";
import type { Issue, IssueStatus } from "../core/model/issue.ts";
import { workInWords } from "../core/model/work.ts";
import { openSecrets } from "../core/secrets/secrets.ts";
import { createRedactor, type Redactor } from "../core/text/redact.ts";
import { shellQuoted } from "../core/text/text.ts";
import { issueFromMarkdown } from "../core/tracker/local/input.ts";
import { type CommandContext, findProject, servedProject } from "./context.ts";
import { kindsFor, kindsWithOwnIssues, reviewState } from "./run-kinds.ts";
import {
  endAt,
  type Outcome,
  type RunRequest,
  type RunResult,
  reasonOf,
  teller,
} from "./run-outcome.ts";
import { firstPollText, openDaemon } from "./serve.ts";
import { Spinner } from "./spinner.ts";
import { aborted, leaveSoon, stopSignal } from "./stop.ts";

interface AloneRequest extends RunRequest {
  /** The issue of a file; null: the tracker has it. */
  readonly text: string | null;
}

/** Where a run has its state. */
interface Place {
  readonly workflowPath: string;
  readonly dataDir: string;
  readonly env: CommandContext["env"];
  readonly kinds: Kinds;
  readonly redactor: Redactor;
  /** The temporary directory that holds all of it; null: the project's own data directory is used. */
  readonly temporary: string | null;
}

/** Runs the real core for one issue in this process, and stops it when the issue has got somewhere. */
export async function runAlone(request: AloneRequest, context: CommandContext): Promise<RunResult> {
  const stop = stopSignal();
  const place = await openPlace(request, context);
  let isKept = true;
  try {
    const result = await work(request, { place, stop, context });
    isKept = result.kept.length > 0;
    return { ...result, data_dir: isKept || place.temporary === null ? place.dataDir : null };
  } catch (error) {
    // Nothing was started, or it is a fault that the message names.
    isKept = false;
    throw error;
  } finally {
    if (place.temporary !== null && !isKept) {
      await rm(place.temporary, { recursive: true, force: true });
    }
    leaveSoon();
  }
}

async function openPlace(request: AloneRequest, context: CommandContext): Promise<Place> {
  const { workflowPath, dataDir } = servedProject(request.workflow, context);
  const redactor = createRedactor();
  const env = request.iUnderstand ? { ...context.env, [understandVariable]: "1" } : context.env;
  if (request.text === null) {
    const kinds = kindsFor(request.issue);
    return { workflowPath, dataDir, env, kinds, redactor, temporary: null };
  }
  const secrets = await openSecrets({ dir: dataDir, env, clock: systemClock, redactor });
  const stored = secrets.names().map((name) => [name, secrets.lookup(name)] as const);
  const temporary = await realpath(await mkdtemp(join(tmpdir(), "symphony-run-")));
  return {
    ...{ workflowPath, redactor, temporary },
    dataDir: join(temporary, "data"),
    // Workspaces of a server of this project stay apart; the project's secrets hold here too.
    env: {
      ...env,
      ...Object.fromEntries(stored),
      SYMPHONY_WORKSPACE__ROOT: join(temporary, "workspaces"),
    },
    kinds: kindsWithOwnIssues(),
  };
}

interface Working {
  readonly place: Place;
  readonly stop: AbortSignal;
  readonly context: CommandContext;
}

async function work(
  { issue, text, wanted, timeoutMs }: AloneRequest,
  { place, stop, context }: Working,
): Promise<RunResult> {
  const { workflowPath, dataDir, env, kinds, redactor } = place;
  const sinks: ReturnType<typeof rotatingFileSink>[] = [];
  const log = createLogger({
    level: context.debug ? "debug" : "warn",
    ...{ format: "logfmt", sinks, clock: systemClock, redact: (line) => redactor.redact(line) },
  });
  using spinner = new Spinner(context);
  spinner.set("start", "starting: reading the configuration, looking for agents");
  await using daemon = await openDaemon({
    ...{ workflowPath, dataDir, env, kinds, log, redactor, signal: stop, spinner },
    ...{ port: 0, host: "127.0.0.1" },
  });
  const { core } = daemon;
  spinner.end("start");
  core.bus.subscribe({}, (event) => spinner.event(event));
  sinks.push(rotatingFileSink({ file: join(dataDir, "log", "symphony.log") }));
  const id = text === null ? issue : await makeIssue(core, text);
  const tell = await teller(context);
  core.bus.subscribe({}, tell);
  const late = new AbortController();
  const timer = timeoutMs === 0 ? undefined : setTimeout(() => late.abort(), timeoutMs);
  const over = Promise.race([aborted(stop), aborted(late.signal)]);
  try {
    const ended = untilEnd(core, id, wanted, context);
    spinner.set("poll", firstPollText(core));
    await Promise.race([core.start(), over]);
    spinner.end("poll");
    await Promise.race([requireWork(core, id), ended, over]);
    const outcome =
      (await Promise.race([ended, over])) ?? (stop.aborted ? "interrupted" : "timed_out");
    const found = core.orchestrator.statusOf(id);
    // Before the stop: an attempt that is ended by it leaves the status of a stopped one.
    const status = found?.status ?? null;
    const known = found?.issue ?? null;
    const asked = found?.blocked?.needs.prompt;
    const why =
      asked === undefined ? (found?.stopped?.reason ?? null) : askedText(asked, text !== null);
    const isOver = !stop.aborted && !late.signal.aborted;
    const record = known === null ? null : await recordOf(core, known, { stop, isOver });
    await daemon.stop();
    return await resultOf({ core, place, context, record }, { id, status, outcome, why });
  } finally {
    clearTimeout(timer);
  }
}

/** The issue of the file, in a state and with the labels that make it run. */
async function makeIssue(core: Core, text: string): Promise<string> {
  const { tracker } = core.config.current.config;
  if (tracker.onSuccess.kind === "none") {
    // One good turn is the end: nothing else moves an issue that only this run has.
    await core.config.changeOverlay((overlay) => ({
      ...overlay,
      tracker: { ...Object(overlay["tracker"]), on_success: reviewState },
    }));
  }
  const draft = issueFromMarkdown(text);
  const [any] = tracker.anyLabels;
  const labels = [
    ...(draft.labels ?? []),
    ...tracker.requiredLabels,
    ...(any === undefined ? [] : [any]),
  ];
  const made = core.localIssues()?.create({ ...draft, labels: [...new Set(labels)] });
  if (made === undefined) throw new Error("a run of a file has its own issues");
  return made.identifier;
}

/** Resolves at the first status that is an end; a person at the terminal may still answer a question. */
function untilEnd(
  core: Core,
  id: string,
  wanted: readonly IssueStatus[],
  context: CommandContext,
): Promise<Outcome | null> {
  const { promise, resolve } = Promise.withResolvers<Outcome | null>();
  let isAsked = false;
  let before: IssueStatus | null = null;
  const look = () => {
    const status = core.orchestrator.statusOf(id)?.status ?? null;
    const outcome = endAt(status, wanted, before);
    before = status ?? before;
    if (outcome === null) {
      isAsked = false;
      return;
    }
    if (status === "blocked" && context.interactive && outcome !== "reached") {
      if (!isAsked) context.note(`${id} waits for you; in a second terminal: symphony inbox`);
      isAsked = true;
      return;
    }
    resolve(outcome);
  };
  core.bus.subscribe({}, () => setImmediate(look));
  look();
  return promise;
}

const firstPollMs = 120_000;

/** After the first poll: rejects with the reason why the issue does not run, where it is no candidate. */
async function requireWork(core: Core, id: string): Promise<void> {
  await core.orchestrator.refreshed(firstPollMs);
  const { status, explain } = await findStatus(core, id);
  if (status !== null) return new Promise(() => {});
  const shut = explain.find(({ pass }) => !pass);
  const why = shut === undefined ? "the tracker does not offer it" : `${shut.gate}: ${shut.detail}`;
  throw new SymphonyError("not_running", `${id} is not to be worked on: ${why}`, {
    hint: shut?.opens ?? `symphony serve --dry-run`,
  });
}

interface Ended {
  readonly id: string;
  readonly status: IssueStatus | null;
  readonly outcome: Outcome;
  /** Why it was held, or has failed; null: it was not. */
  readonly why: string | null;
}

/** What is recorded of the issue: read while the core still has its files. */
async function recordOf(
  core: Core,
  issue: Issue,
  { stop, isOver }: { readonly stop: AbortSignal; readonly isOver: boolean },
) {
  await Promise.race([core.deliveries.settled(issue.id), aborted(stop)]);
  // While it runs, the core knows what was pushed; an agent that is still at work is examined after its end.
  const examined = isOver ? core.workspaces.kept.report(issue, null) : Promise.resolve();
  const isExamined = await Promise.race([
    examined.then(
      () => isOver,
      () => false,
    ),
    aborted(stop).then(() => false),
  ]);
  const delivered = core.deliveries.of(issue.id);
  const { repositories } = core.config.current.config.git;
  const rule = repositories.find(({ name }) => name === delivered?.repository);
  const path = core.history.latestAttempt(issue.id)?.workspacePath ?? null;
  return {
    ...{ issue, isExamined, path, pushed: delivered?.pushed ?? null },
    branch: delivered?.pushed == null ? null : delivered.branch,
    address: rule?.address.address ?? "",
    pullRequest: delivered?.pullRequest?.url ?? null,
  };
}

interface After {
  readonly core: Core;
  readonly place: Place;
  readonly context: CommandContext;
  readonly record: Awaited<ReturnType<typeof recordOf>> | null;
}

/** Without a server there is nothing to answer through. */
function askedText(prompt: string, isFile: boolean): string {
  const next = isFile
    ? "say it in the file and run it again"
    : "say it in the issue and run it again, or answer through symphony serve";
  return `its agent asks: ${prompt}; ${next}`;
}

const examineMs = 5_000;

/** Where the work is, once no server can be asked. */
async function resultOf(
  { core, place, context, record }: After,
  { id, status, outcome, why }: Ended,
): Promise<RunResult> {
  const { kept: workspaces } = core.workspaces;
  if (record !== null && record.path !== null && !record.isExamined) {
    const { issue, path, pushed } = record;
    await workspaces.examineLast(issue, { path, pushed }, AbortSignal.timeout(examineMs));
  }
  const { env, cwd } = context;
  const isFound = findProject({ dataDir: undefined, env, cwd })?.dataDir === place.dataDir;
  const where = isFound ? "" : ` --data-dir ${shellQuoted(place.dataDir)}`;
  const kept = workspaces
    .list()
    .filter(({ issueIdentifier }) => issueIdentifier === id)
    .map((one) => ({
      ...{ issue_identifier: one.issueIdentifier, key: one.key, path: one.path },
      summary: workInWords(one.work),
      next: [`${one.next[0]}${where}`],
    }));
  const branch = record?.branch ?? null;
  return {
    ...{ issue_identifier: id, status, outcome, server: null, data_dir: place.dataDir, kept },
    reason:
      outcome === "reached"
        ? null
        : [reasonOf(id, status, outcome), ...(why === null ? [] : [why])].join(": "),
    ...{ branch, pull_request: record?.pullRequest ?? null },
    next: branch === null ? [] : [logOf(branch, record?.address ?? "")],
  };
}

/** A repository of this machine has the branch itself, and perhaps is no remote of the one at hand. */
function logOf(branch: string, address: string): string {
  const path = address.startsWith("file:") ? fileURLToPath(address) : address;
  if (path.startsWith("/")) return `git -C ${shellQuoted(path)} log ${shellQuoted(branch)}`;
  return `git fetch && git log ${shellQuoted(`origin/${branch}`)}`;
}
