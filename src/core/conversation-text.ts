import type { DeliveryConfig } from "./config/delivery.ts";
import type { Delivered } from "./delivery/delivered.ts";
import { standingText, underWay } from "./delivery/living-comment.ts";
import type { Explained } from "./orchestrator/explain.ts";
import type { IssueRow } from "./orchestrator/issues.ts";
import { defuse } from "./text/defuse.ts";
import { oneLine } from "./text/text.ts";
import type { Activity } from "./tracker/tracker.ts";

/** What an agent has done in the current attempt. */
export interface Progress {
  readonly commands: number;
  readonly files: number;
  readonly tools: number;
  /** The last command or message. */
  readonly last: string;
}

export const noProgress: Progress = { commands: 0, files: 0, tools: 0, last: "" };

export interface Standing {
  readonly row: IssueRow | undefined;
  readonly known: Delivered | null;
  /** The rules that the issue must pass to be started. */
  readonly gates: readonly Explained[];
  /** A person ended the run from within the conversation. */
  readonly stopped: boolean;
  /** How work is delivered. */
  readonly delivers: DeliveryConfig["mode"];
  /** What commands begin with. */
  readonly prefix: string;
}

const maxQuestion = 4_000;
const maxReason = 300;
const maxLine = 200;

/** These are mended by a person in the tracker; the others pass. */
const ofTracker: ReadonlySet<string> = new Set([
  "active_state",
  "required_labels",
  "any_label",
  "excluded_labels",
  "dispatchable",
]);

/** Where the issue stands, in symphony's words; only a question is the agent's. `redact` removes secrets. */
export function standingOf(standing: Standing, redact: (text: string) => string): Activity {
  const { row, known, gates, stopped, delivers, prefix } = standing;
  const text = redact(standingText(row, known));
  switch (row?.claim) {
    case "running": {
      if (stopped && row.stopping) return { type: "response", body: stoppedText(prefix) };
      const [question] = row.questions;
      return question ? asked(question.needs, redact) : { type: "thought", body: text };
    }
    case "blocked":
      return asked(row.needs, redact);
    case "retrying":
      return { type: "thought", body: text };
    case "review":
      // One answer, with its result.
      return isOnItsWay(known, delivers)
        ? { type: "thought", body: underWay }
        : { type: "response", body: text };
    case "completed":
      return { type: "response", body: text };
    case "held":
      if (stopped) return { type: "response", body: stoppedText(prefix) };
      return { type: row.error === null ? "response" : "error", body: text };
    case "failed":
      return { type: "error", body: text };
    default:
      return waiting(gates);
  }
}

export function stoppedText(prefix: string): string {
  return `Stopped. \`${prefix} retry\` starts it again.`;
}

/** Tells one standing from another; another number or time in a thought is no news. */
export function saidOf({ type, body }: Pick<Activity, "type" | "body">): string {
  return `${type} ${type === "thought" ? body.replaceAll(/\d+/g, "0") : body}`;
}

/** Its result is not there yet, and nothing is wrong. */
function isOnItsWay(known: Delivered | null, mode: DeliveryConfig["mode"]): boolean {
  if (mode === "none" || !known?.branch || known.problem !== null) return false;
  const isPushed = known.pushed !== null && known.pushed === known.head;
  return !isPushed || (mode === "pull_request" && known.pullRequest === null);
}

function waiting(gates: readonly Explained[]): Activity {
  const shut = gates.find(({ gate, pass }) => !pass && gate !== "candidate");
  if (shut === undefined)
    return { type: "thought", body: "Queued: it starts with the next free slot." };
  // The reason of another gate changes often, and may name places of the server.
  const name = shut.gate.replaceAll("_", " ");
  if (!ofTracker.has(shut.gate)) return { type: "thought", body: `Not started yet: ${name}.` };
  const reason = shown(shut.detail);
  const opens = shut.opens === null ? "" : ` To start it: ${shown(shut.opens)}.`;
  return { type: "response", body: `Not started: ${reason}.${opens}` };
}

function asked(
  needs: { readonly kind: string; readonly prompt: string; readonly options: readonly string[] },
  redact: (text: string) => string,
): Activity {
  const isApproval = needs.kind === "approval";
  const options = isApproval ? ["approve", "decline"] : needs.options;
  const question = defuse(redact(needs.prompt), { maxChars: maxQuestion });
  const how = isApproval ? "\n\nAnswer `approve` or `decline`." : "";
  return {
    type: "elicitation",
    body: `${question}${how}`,
    ...(options.length > 0 && {
      options: options.map((one) => oneLine(redact(one), maxLine)),
    }),
  };
}

/** The work so far; null: nothing yet. */
export function progressOf(
  { commands, files, tools, last }: Progress,
  shows: "progress" | "detail",
  redact: (text: string) => string,
): Activity | null {
  if (commands + files + tools === 0 && last === "") return null;
  const counts = [
    count(commands, "command"),
    count(files, "change"),
    count(tools, "call of a tool"),
  ];
  const work = counts.filter((one) => one !== null).join(", ");
  const line = defuse(oneLine(redact(last), maxLine), { maxChars: maxLine });
  const body = shows === "detail" && line !== "" ? line : work === "" ? "at work" : work;
  return { type: "action", body, passing: true };
}

function count(number: number, what: string): string | null {
  if (number === 0) return null;
  if (number === 1) return `1 ${what}`;
  return `${number} ${what === "call of a tool" ? "calls of tools" : `${what}s`}`;
}

function shown(text: string): string {
  return defuse(text.replaceAll(/\s+/g, " "), { maxChars: maxReason });
}
