import { systemClock } from "../core/clock.ts";
import { createLogger, streamSink } from "../core/events/log.ts";
import { messageOf, SymphonyError } from "../core/model/errors.ts";
import type { EventType } from "../core/model/event.ts";
import { createRedactor } from "../core/text/redact.ts";
import type { LocalIssues } from "../core/tracker/local/issues.ts";
import { branchDiff, makeSample, type Sample } from "../demo/sample.ts";
import { chapters, identifierOf, steeredIdentifier, steeringQuestion } from "../demo/script.ts";
import type { CommandIo } from "./context.ts";
import { type DemoScreen, isAttended, openDemoScreen } from "./demo-screen.ts";
import { eventLine } from "./event-line.ts";
import { type Paint, paintFor, plain, plainLine } from "./output.ts";
import { type Daemon, openDaemon } from "./serve.ts";
import { aborted, leaveSoon, stopCode, stopSignal } from "./stop.ts";

const defaultPort = 4000;

const questionHere = "what should the evening greeting be? Type it here.";

/** The events after which the issue that asked does not wait for an answer any more. */
const answered: ReadonlySet<string> = new Set<EventType>([
  "steer.delivered",
  "issue.completed",
  "issue.held",
  "issue.failed",
]);

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
  const sample = await makeSample(isAttended(io), stop);
  try {
    await using daemon = await openOn(sample, port, { io, signal: stop });
    const commands = commandsFor(daemon, io);
    const screen = await openDemoScreen(io, {
      commands: commands.working,
      paint,
      answer: (text) => void answer(daemon, text, screen),
    });
    try {
      screen.introduce(introduction(daemon, paint));
      const finished = follow(daemon, screen, paint);
      tell(daemon.core.localIssues());
      await Promise.race([daemon.core.start(), stopped]);
      const concluded = finished.then((branches) => {
        screen.offer(commands.done);
        return conclude({ sample, branches, stop, io }, screen, paint);
      });
      await Promise.race([stopped, concluded]);
      await stopped;
    } finally {
      screen.close();
    }
    io.stdout.write("\nStopping the agents and removing the temporary folder ...\n");
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

/** As npx sets it. Without an installation `npx symphony` is found in the checkout alone: elsewhere it is another package. */
function isFromCheckout({ env }: CommandIo): boolean {
  return env["npm_command"] === "exec";
}

/** What to type in a second terminal, while agents work and after it. */
function commandsFor({ listening }: Daemon, io: CommandIo) {
  const program = isFromCheckout(io) ? "npx symphony" : "symphony";
  const url = listening.port === defaultPort ? "" : ` --url ${listening.url}`;
  const command = (text: string, why: string) => ({ text: `${program} ${text}${url}`, why });
  const watch = command("watch", "what needs you, runs and is done");
  const events = command("events --follow", "everything as it happens");
  const working = [
    watch,
    command(`steer ${steeredIdentifier} "Good evening, friends"`, "it asks for it"),
    events,
    command(`abort ${identifierOf(4)}`, "stop an agent"),
  ];
  const done = [
    command("state", "what became of the issues"),
    command(`diff ${identifierOf(0)}`, "all that an issue changed"),
    command(`attempts ${identifierOf(2)}`, "its two attempts"),
  ];
  return { working, done };
}

function introduction({ listening }: Daemon, paint: Paint): string {
  return [
    paint.bold(`symphony demo  ${listening.url}`),
    "Five issues of an embedded tracker, a small git repository, the real server.",
    "The agent is a scripted stand-in without a model; it edits and tests for real.",
    "symphony commits and pushes what it leaves.",
  ].join("\n");
}

/** What the person typed is guidance for the issue that asked, as `symphony steer` would give it. */
async function answer({ core }: Daemon, text: string, screen: DemoScreen): Promise<void> {
  try {
    await core.orchestrator.steer(steeredIdentifier, text, null);
  } catch (error) {
    screen.say(messageOf(error));
  }
}

/** Shows what happens; resolves with the pushed branches by issue when none is left to run. */
function follow(
  { core }: Daemon,
  screen: DemoScreen,
  paint: Paint,
): Promise<ReadonlyMap<string, string>> {
  const { promise, resolve } = Promise.withResolvers<ReadonlyMap<string, string>>();
  const committed = new Set<string>();
  const branches = new Map<string, string>();
  const started = systemClock.now();
  const open = new Set(chapters.map((_, index) => identifierOf(index)));
  core.bus.subscribe({}, (event) => {
    const text = eventLine(event, paint);
    const seconds = ((systemClock.now() - started) / 1_000).toFixed(1).padStart(5);
    if (text !== null) screen.say(`${paint.dim(`${seconds}s`)}  ${text}`);
    const name = event.issueIdentifier ?? "";
    if (name === steeredIdentifier) {
      if (event.message.startsWith(steeringQuestion)) screen.ask(`${name} asks: ${questionHere}`);
      if (answered.has(event.type)) screen.ask(null);
    }
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
  readonly io: CommandIo;
}

/** Where the work is now, with a part of one diff, in fewer lines than a small terminal has. */
async function conclude(
  { sample, branches, stop, io }: Conclusion,
  { say }: DemoScreen,
  paint: Paint,
): Promise<void> {
  const shown = identifierOf(0);
  const branch = branches.get(shown);
  const file = "greet.sh";
  const diff = branch === undefined ? null : await branchDiff(sample, { branch, file }, stop);
  if (diff !== null) say(`\nWhat ${shown} delivered, in ${file}:\n${plain(diff)}`);
  say(paint.bold("\nNo issue is left to run. The branches in the demo's repository:"));
  for (const [name, pushed] of [...branches].sort())
    say(`  ${paint.bold(name)}  ${plainLine(pushed)}`);
  say(`All of them: ${paint.cyan(`git -C ${sample.repository} log --oneline --all`)}`);
  const install = isFromCheckout(io) ? `${paint.cyan("npm install --global .")} here; ` : "";
  say(`Your own repository: ${install}${paint.cyan("symphony init")} in its folder.`);
  say(paint.dim("The server stays up for a second terminal; Ctrl-C ends it and deletes all this."));
}
