import { dirname, resolve } from "node:path";
import type { Clock } from "../clock.ts";
import { agentEnvironment } from "../process/environment.ts";
import { findProgram } from "../process/find-program.ts";
import { runCommand } from "../process/run.ts";
import { cut, oneLine } from "../text/text.ts";
import { cutEscaped, plainTextOf, type Wording, whyOf } from "./message.ts";
import { failedBy, type Sent } from "./sending.ts";

export interface ProgramDeps {
  readonly clock: Clock;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** A program's relative path begins at its directory. */
  readonly workflowPath: string;
  readonly runId: string;
  /** Removed from the program's environment. */
  readonly secretNames: readonly string[];
  readonly platform: NodeJS.Platform;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** What a desktop needs to show something, in addition to what hooks may see. */
const desktopVariables = [
  "DBUS_SESSION_BUS_ADDRESS",
  "DISPLAY",
  "WAYLAND_DISPLAY",
  "XAUTHORITY",
  "XDG_CURRENT_DESKTOP",
  "XDG_RUNTIME_DIR",
];
const maxSummaryChars = 200;
const maxBodyChars = 1_000;
const shownItems = 4;

/** The program that shows notices on this kind of machine. */
export function desktopProgram(platform: NodeJS.Platform): string {
  return platform === "darwin" ? "osascript" : "notify-send";
}

/** Shows it on the desktop of this user. Never rejects. */
export function showOnDesktop(wording: Wording, deps: ProgramDeps): Promise<Sent> {
  const { summary, body } = desktopText(wording);
  const argv =
    deps.platform === "darwin"
      ? ["osascript", ...appleScript, "--", summary, body]
      : ["notify-send", "--app-name=symphony", "--", summary, markupEscaped(body)];
  return run(argv, { input: null, extra: {} }, deps);
}

/** The texts are arguments of the script, never a part of it. */
const appleScript = [
  ...["-e", "on run argv"],
  ...["-e", "display notification (item 2 of argv) with title (item 1 of argv)"],
  ...["-e", "end run"],
];

function desktopText({ headline, items, more }: Wording) {
  const shown = items.slice(0, shownItems);
  const left = more + items.length - shown.length;
  const lines =
    items.length === 1 && left === 0
      ? shown.map(whyOf)
      : shown.map(({ label, title }) => (title === null ? label : `${label}: ${title}`));
  const all = left > 0 ? [...lines, `and ${left} more`] : lines;
  return {
    summary: oneLine(cutEscaped(headline, maxSummaryChars), maxSummaryChars),
    body: all.map((line) => cutEscaped(oneLine(line, maxBodyChars), 200)).join("\n"),
  };
}

/** The body of a notice on Linux is read as markup; its summary is not. */
function markupEscaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

const maxEnvironmentChars = 16_384;

/** Runs the operator's program: the notice as JSON on its stdin, and as text in its environment, never as an argument. */
export function runReceiver(
  command: readonly string[],
  { wording, document }: { readonly wording: Wording; readonly document: object },
  deps: ProgramDeps,
): Promise<Sent> {
  const text = cut(plainTextOf(wording), maxEnvironmentChars);
  const extra = {
    SYMPHONY_NOTICE_ID: wording.id,
    SYMPHONY_NOTICE_HEADLINE: oneLine(wording.headline, 4_000),
    SYMPHONY_NOTICE_TEXT: text,
    SYMPHONY_NOTICE_REPEAT: String(wording.isRepeat),
    SYMPHONY_NOTICE_URL: wording.url ?? "",
  };
  return run(command, { input: `${JSON.stringify(document)}\n`, extra }, deps);
}

interface Given {
  readonly input: string | null;
  readonly extra: Readonly<Record<string, string>>;
}

async function run(
  [name = "", ...args]: readonly string[],
  { input, extra }: Given,
  { env, workflowPath, clock, timeoutMs, signal, ...deps }: ProgramDeps,
): Promise<Sent> {
  const dir = dirname(resolve(workflowPath));
  const program = await programAt(name, { env, workflowPath });
  if (program === null) {
    return failedBy("program_missing", `there is no program ${name} on this machine`);
  }
  const inherited = agentEnvironment({ ...deps, env, passthrough: desktopVariables });
  const ended = await runCommand({
    argv: [program, ...args],
    cwd: dir,
    env: { ...inherited, ...extra },
    ...{ name: "notify", timeoutMs, clock, signal, outputBytes: 4_096, keep: "end" },
    ...(input !== null && { input: Buffer.from(input) }),
  });
  if (ended.exitCode === 0) return { outcome: "sent", reason: `${name} took it` };
  if (ended.stoppedFor === "time") {
    const reason = `${name} did not end in ${timeoutMs / 1_000} s`;
    return failedBy("timeout", reason, { mayHaveArrived: true });
  }
  const how =
    ended.exitCode === null ? `ended by ${ended.signal ?? "an error"}` : `exit ${ended.exitCode}`;
  const last = ended.output.trim().split("\n").at(-1) ?? "";
  return failedBy("program_failed", `${name}: ${how}${last === "" ? "" : `: ${last}`}`);
}

/** The file of a program: on PATH, or at a path from the workflow file's directory; null: there is none. */
export function programAt(
  name: string,
  { env, workflowPath }: Pick<ProgramDeps, "env" | "workflowPath">,
): Promise<string | null> {
  const path = env["PATH"] ?? "/usr/bin:/bin";
  const place = name.includes("/") ? resolve(dirname(resolve(workflowPath)), name) : name;
  return findProgram(place, path);
}
