import { agentCommand, outlivesServer } from "../core/agent/kinds.ts";
import { levelWords } from "../core/config/config.ts";
import type { Core } from "../core/core.ts";
import { type LogRecord, type LogSink, levelOf, streamSink } from "../core/events/log.ts";
import type { CommandIo } from "./context.ts";
import { eventLine } from "./event-line.ts";
import { columnsOf, factLines, foldLines, type Paint, paintFor, plainLine } from "./output.ts";

/** Behind the time. */
const textColumn = 10;
/** Issues that are named; the others are counted. */
const few = 3;

/** What `symphony serve` says to a person, on stderr; its log file has every record in full. */
export interface ServeTerminal {
  /** The records that are no event: those of the start, and what went wrong inside. */
  readonly sink: LogSink;
  /** Says what runs where, then a line for each thing that happens, until it stops. */
  follow(core: Core, url: string, redact: (text: string) => string): void;
  /** After Ctrl-C: what is waited for now. */
  stopping(core: Core): void;
  /** When everything is closed: what the next start continues. */
  stopped(): void;
}

export async function serveTerminal(io: CommandIo): Promise<ServeTerminal> {
  const paint = await paintFor(io.colour);
  const stream = streamSink("stderr", io.stderr);
  const interrupted = new Set<string>();
  const say = (text: string) => {
    const line = `${paint.dim(clock())}  ${text}`;
    stream.write(`${foldLines([line], columnsOf(io.stderr), textColumn).join("\n")}\n`);
  };
  return {
    sink: {
      ...stream,
      form: (record, redact) => {
        const line = recordLine(record, redact, paint);
        return line === null ? null : `${paint.dim(clock())}  ${line}`;
      },
    },
    follow(core, url, redact) {
      if (!io.quiet)
        io.stderr.write(`${introduction(core, url, { paint, width: columnsOf(io.stderr) })}\n\n`);
      core.bus.subscribe({}, (event) => {
        if (io.quiet && ["debug", "info"].includes(levelOf(event))) return;
        const line = eventLine(event, paint);
        if (line !== null) say(redact(line));
      });
      core.bus.subscribe({ filter: { types: ["attempt.ended"] } }, ({ issueIdentifier, data }) => {
        if (data["outcome"] === "interrupted") interrupted.add(issueIdentifier ?? "");
      });
    },
    stopping({ orchestrator }) {
      if (io.quiet) return;
      const names = orchestrator.view(few).snapshot.running.map(({ issue }) => issue.identifier);
      const { running } = orchestrator.view(1).snapshot.counts;
      say(
        running === 0
          ? "Stopping."
          : `Stopping: waiting for ${inWords(names, running)} to end; their work stays. Ctrl-C again ends them at once.`,
      );
    },
    stopped() {
      if (io.quiet) return;
      const names = [...interrupted];
      const next = `; the next start continues ${inWords(names.slice(0, few), names.length)}`;
      say(`Stopped${names.length === 0 ? "" : next}.`);
    },
  };
}

function inWords(names: readonly string[], count: number): string {
  const more = count > names.length ? ` and ${count - names.length} more` : "";
  return plainLine(`${names.join(", ")}${more}`);
}

function clock(): string {
  return new Date().toTimeString().slice(0, 8);
}

/** The events have lines of their own. */
function recordLine(
  { level, message, fields }: LogRecord,
  redact: (text: string) => string,
  paint: Paint,
): string | null {
  if (fields["event"] !== undefined) return null;
  const facts = Object.entries(fields).map(([name, value]) => {
    const text =
      value instanceof Error
        ? value.message
        : typeof value === "object"
          ? JSON.stringify(value)
          : String(value);
    return name === "reason" || name === "error" ? `: ${text}` : ` ${name}=${text}`;
  });
  const line = plainLine(
    redact(
      `${message}${facts.sort((a, b) => Number(b[0] === ":") - Number(a[0] === ":")).join("")}`,
    ),
  );
  if (level === "error") return paint.red(line);
  return level === "warn" ? paint.yellow(line) : paint.dim(line);
}

interface Look {
  readonly paint: Paint;
  readonly width: number | null;
}

function introduction(core: Core, url: string, { paint, width }: Look): string {
  const { config } = core.config.current;
  const agents = core.kinds.agents;
  const shared = outlivesServer(agents, config) ? "  shared: turns outlive a restart" : "";
  return factLines(
    [
      ["symphony", { text: `${core.version}  ${url}`, style: "bold" }],
      ["workflow", core.workflowPath],
      ["tracker", config.tracker.kind],
      ["agent", `${config.agent.use}  ${agentCommand(agents, config)}${shared}`],
      ["level", `${config.agent.level}: ${levelWords[config.agent.level]}`],
      ["data", core.dataDir],
      ["next", "symphony state, in a second terminal; Ctrl-C stops"],
    ],
    paint,
    width,
  ).join("\n");
}
