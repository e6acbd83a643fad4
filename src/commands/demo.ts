import { systemClock } from "../core/clock.ts";
import { createLogger, streamSink } from "../core/events/log.ts";
import { SymphonyError } from "../core/model/errors.ts";
import { createRedactor } from "../core/text/redact.ts";
import type { LocalIssues } from "../core/tracker/local/issues.ts";
import { branchDiff, makeSample, type Sample } from "../demo/sample.ts";
import { chapters, identifierOf, steeredIdentifier } from "../demo/script.ts";
import type { CommandIo } from "./context.ts";
import { eventLine } from "./event-line.ts";
import { type Paint, paintFor, plain, plainLine } from "./output.ts";
import { type Daemon, openDaemon } from "./serve.ts";
import { aborted, leaveSoon, stopCode, stopSignal } from "./stop.ts";

const defaultPort = 4000;

/**
 * `symphony demo`: the real server and core in a temporary folder, until Ctrl-C. `port` 0 means any free port, undefined
 * the default.
 */
export async function demo(port: number | undefined, io: CommandIo): Promise<number> {
  const stop = stopSignal();
  try {
    await show(port, io, stop);
  } catch (error) {
    if (error !== stop.reason) throw error;
  } finally {
    leaveSoon();
  }
  return stopCode(stop);
}

async function show(port: number | undefined, io: CommandIo, stop: AbortSignal): Promise<void> {
  const stopped = aborted(stop);
  const paint = await paintFor(io.colour);
  const say = (text = "") => void io.stdout.write(`${text}\n`);
  const sample = await makeSample(stop);
  try {
    await using daemon = await openOn(sample, port, { io, signal: stop });
    introduce(daemon, say, paint);
    const finished = follow(daemon, say, paint);
    tell(daemon.core.localIssues());
    await Promise.race([daemon.core.start(), stopped]);
    const concluded = finished.then((branches) => conclude({ sample, branches, stop }, say, paint));
    await Promise.race([stopped, concluded]);
    await stopped;
    say("\nStopping the agents and removing the temporary folder ...");
  } finally {
    await sample.remove();
  }
}

/** On the default port, or on any free one when that is taken and no port was given. */
async function openOn(
  sample: Sample,
  port: number | undefined,
  { io, signal }: { readonly io: CommandIo; readonly signal: AbortSignal },
): Promise<Daemon> {
  const redactor = createRedactor();
  const log = createLogger({
    level: io.debug ? "debug" : "error",
    format: "logfmt",
    sinks: [streamSink("stderr", io.stderr)],
    clock: systemClock,
    redact: (text) => redactor.redact(text),
  });
  const { workflowPath, dataDir } = sample;
  // The demo must not depend on a slow login profile or on a git that signs every commit.
  const env = { ...io.env, HOME: sample.root };
  const open = (on: number) =>
    openDaemon({ workflowPath, dataDir, port: on, host: undefined, env, log, redactor, signal });
  try {
    return await open(port ?? defaultPort);
  } catch (error) {
    const taken = error instanceof SymphonyError && error.code === "cannot_listen";
    if (!taken || port !== undefined) throw error;
    return open(0);
  }
}

function tell(issues: LocalIssues | null): void {
  for (const { title, description, priority, labels, after } of chapters) {
    const blockedBy = after === undefined ? [] : [identifierOf(after)];
    issues?.create({ title, description, priority, labels: [...labels], blockedBy });
  }
}

type Say = (text?: string) => void;

function introduce({ listening }: Daemon, say: Say, paint: Paint): void {
  const url = listening.port === defaultPort ? "" : ` --url ${listening.url}`;
  const command = (text: string, why: string) =>
    say(`  ${paint.cyan(`npx symphony ${text}${url}`)}  ${paint.dim(why)}`);
  say(paint.bold(`symphony demo  ${listening.url}`));
  say("Five issues of an embedded tracker, a small git repository, and the real orchestrator.");
  say(
    `The agent is a scripted stand-in: it uses no model, but edits and tests for real. symphony commits and pushes what it leaves.`,
  );
  say(
    `For a real one, install codex, log in, and run ${paint.cyan("npx symphony serve WORKFLOW.md")}.`,
  );
  say("\nTry in a second terminal, in this folder:");
  command("state --watch", "what runs, waits and is done");
  command(`steer ${steeredIdentifier} "Good evening, friends"`, "the agent asks for it");
  command("events --follow", "everything as it happens");
  command(`abort ${identifierOf(4)}`, "stop an agent and hold its issue");
  say(
    paint.dim(
      "\nCtrl-C stops the agents and deletes the demo's temporary folder with all results.\n",
    ),
  );
}

/** Shows what happens; resolves with the pushed branches by issue when none is left to run. */
function follow({ core }: Daemon, say: Say, paint: Paint): Promise<ReadonlyMap<string, string>> {
  const { promise, resolve } = Promise.withResolvers<ReadonlyMap<string, string>>();
  const committed = new Set<string>();
  const branches = new Map<string, string>();
  const started = systemClock.now();
  const open = new Set(chapters.map((_, index) => identifierOf(index)));
  core.bus.subscribe({}, (event) => {
    const text = eventLine(event, paint);
    const seconds = ((systemClock.now() - started) / 1_000).toFixed(1).padStart(5);
    if (text !== null) say(`${paint.dim(`${seconds}s`)}  ${text}`);
    const name = event.issueIdentifier ?? "";
    if (event.type === "work.committed") committed.add(name);
    if (event.type === "branch.pushed") branches.set(name, String(event.data["branch"]));
    if (event.type === "issue.completed" || event.type === "issue.held") open.delete(name);
    // The work of an issue is pushed right after it is completed; without guidance one has none.
    if (open.size === 0 && branches.size === committed.size) resolve(branches);
  });
  return promise;
}

interface Conclusion {
  readonly sample: Sample;
  readonly branches: ReadonlyMap<string, string>;
  readonly stop: AbortSignal;
}

/** Where the work is now, with one of its diffs. */
async function conclude(
  { sample, branches, stop }: Conclusion,
  say: Say,
  paint: Paint,
): Promise<void> {
  const shown = identifierOf(0);
  say(
    paint.bold(
      "\nNo issue is left to run. What they changed is in branches of the demo's repository:",
    ),
  );
  for (const [name, branch] of [...branches].sort())
    say(`  ${paint.bold(name)}  ${plainLine(branch)}`);
  const branch = branches.get(shown);
  const diff = branch === undefined ? null : await branchDiff(sample, branch, stop);
  if (diff !== null) say(`\nWhat ${shown} delivered:\n\n${plain(diff)}\n`);
  say(`All of them: ${paint.cyan(`git -C ${sample.repository} log --oneline --all`)}`);
  say(
    paint.dim("The server stays up for your second terminal; Ctrl-C ends it and deletes all this."),
  );
}
