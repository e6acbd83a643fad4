import { exchange } from "../client/client.ts";
import type { Api } from "../contract/api.ts";
import { paths } from "../contract/paths.ts";
import type { Reply } from "../contract/route.ts";
import { SymphonyError } from "../core/model/errors.ts";
import { type CommandContext, findProject } from "./context.ts";
import { closest, hintAt } from "./failure.ts";
import { factLines, plainLine, printPage, relative, span } from "./output.ts";
import { row } from "./table.ts";
import { parseDuration } from "./when.ts";

/** Shows the running server. */
export const runtimeCommand = row({
  examples: ["symphony runtime", "symphony runtime --json | jq -r .version"],
  call: async (_, context) => (await context.client()).system.runtime(),
  async print(facts, context) {
    const { server, tracker, agent } = facts;
    const health = healthText(tracker);
    const on = Object.entries(facts.features).flatMap(([name, enabled]) => (enabled ? [name] : []));
    const lines = factLines(
      [
        ["version", `${facts.version}, Node.js ${facts.node_version}, ${facts.platform}`],
        ["process", `${facts.pid}, up ${span(facts.uptime_seconds * 1_000)}`],
        ["address", `${server.host}:${server.port}, auth ${server.auth}`],
        ["workflow", facts.workflow_path],
        ["data", facts.data_dir],
        ["tracker", `${tracker.kind}, ${health}`],
        [
          "agent",
          [...new Set([agent.name, agent.kind]), agent.model, agent.command]
            .filter(Boolean)
            .join(", "),
        ],
        ["level", agent.level],
        ["features", on.join(", ") || "-"],
      ],
      await context.paint(),
      context.width,
    );
    context.print(lines.join("\n"));
  },
});

function healthText({ status, last_error: error }: Reply<Api["system"]["runtime"]>["tracker"]) {
  if (status === "starting") return "starting: its first read has not ended";
  return status === "failing" ? `failing: ${error?.message ?? "?"}` : status;
}

const defaultWait = "60s";
/** The server answers by itself after its limit. */
const answerMs = 10_000;
const longestWaitMs = 600_000;

/** Requests a poll now; with `--wait` ends when it and what it decided are done. */
export const refreshCommand = row({
  examples: ["symphony refresh", "symphony refresh --wait && symphony state"],
  options: [
    {
      name: "wait",
      summary: "until that poll has ended and what it decided is done; 1 if it failed",
    },
    {
      name: "timeout",
      value: "duration",
      summary: "give up waiting after 90s, 5m; at most 10m",
      default: defaultWait,
      read: parseDuration,
    },
  ],
  async call({ wait, timeout }, context) {
    const { system } = await context.client();
    if (!wait) return system.refresh();
    if (timeout < 1 || timeout > longestWaitMs) {
      throw new SymphonyError("usage", `--timeout: ${span(timeout)} is not between 1ms and 10m`);
    }
    const query = { wait: "true", timeout_ms: Math.ceil(timeout) } as const;
    const signal = context.interrupted();
    return system.refresh({ query }, { timeoutMs: timeout + answerMs, signal });
  },
  print({ coalesced, done }, { note }) {
    const joined = coalesced ? ", together with one that was already due" : "";
    if (done === null)
      return note(`Poll and reconcile are requested${joined}; symphony state shows them`);
    const names = (all: typeof done.started) => all.map((one) => one.issue_identifier).join(", ");
    const parts = [
      ...(done.started.length === 0 ? [] : [`started ${names(done.started)}`]),
      ...(done.stopped.length === 0 ? [] : [`stopped ${names(done.stopped)}`]),
    ];
    note(`The poll has ended: ${parts.join("; ") || "no attempt was started or stopped"}`);
  },
});

/** The data directory when no server was named or runs for this project; null: a server has to be asked. */
async function offlineDir(context: CommandContext): Promise<string | null> {
  const { certain } = await context.discovery();
  return certain ? null : (findProject(context.where)?.dataDir ?? null);
}

/** Pauses all dispatch: of the running server, or of the next one. */
export const pauseCommand = row({
  examples: ["symphony pause", 'symphony pause --reason "release day"'],
  options: [
    { name: "reason", value: "text", summary: "shown wherever the pause is, and in the audit log" },
  ],
  async call({ reason }, context) {
    const dataDir = await offlineDir(context);
    if (dataDir === null) {
      const client = await context.client();
      return client.system.pause({ body: reason === undefined ? {} : { reason } });
    }
    const { switchOffline } = await import("./offline-pause.ts");
    const { now } = await switchOffline(dataDir, context, reasonOf(reason));
    const since = new Date(now?.sinceWall ?? 0).toISOString();
    return { paused: true as const, reason: now?.reason ?? null, by: now?.by ?? "cli", since };
  },
  print({ reason }, { note }) {
    const why = reason === null ? "" : `: ${plainLine(reason)}`;
    note(`Dispatch is paused${why}. Running agents continue; symphony resume ends it`);
  },
});

const maxReason = 1_000;

/** As the route takes it. */
function reasonOf(text: string | undefined): string | null {
  if (text === undefined) return null;
  const reason = text.trim();
  if (reason !== "" && reason.length <= maxReason) return reason;
  throw new SymphonyError("usage", `--reason needs 1 to ${maxReason} characters`, {
    hint: 'symphony pause --reason "release day"',
  });
}

/** Ends the pause: of the running server, or before the next one. */
export const resumeCommand = row({
  examples: ["symphony resume"],
  async call(_, context) {
    const dataDir = await offlineDir(context);
    if (dataDir === null) return (await context.client()).system.resume({ body: {} });
    const { switchOffline } = await import("./offline-pause.ts");
    const { before } = await switchOffline(dataDir, context);
    const since = before && new Date(before.sinceWall).toISOString();
    return { paused: false as const, was_paused: before !== null, since };
  },
  print({ was_paused: wasPaused, since }, { note }) {
    if (!wasPaused || since === null) return note("Dispatch was not paused");

    note(
      `Dispatch is resumed; it was paused ${relative(since, Date.now())}. symphony state --watch shows what starts`,
    );
  },
});

/** Prints the server's `/metrics`: its own text, or `{"metrics": […]}`. */
export const metricsCommand = row({
  examples: [
    "symphony metrics",
    "symphony metrics symphony_issues symphony_attempts_total",
    "symphony metrics symphony_issues --json | jq '.metrics[0].samples'",
  ],
  arguments: [
    {
      name: "name",
      summary: "only these metrics; a * at the end of a name matches any ending",
      optional: true,
      repeats: true,
    },
  ],
  async call({ name: names }, context) {
    const { method, path } = paths.system.metrics;
    const request = { method, path, headers: { accept: "text/plain" } };
    const { text } = await exchange(await context.server(), request);
    const all = parseExposition(text);
    const families = all.filter(({ name }) => wanted(name, names));
    if (families.length === 0) throw unknown(names, all);
    return families;
  },
  document: (families) => ({ metrics: families.map(withoutLines) }),
  print: (families, { print }) => print(families.flatMap(({ lines }) => lines).join("\n")),
});

function wanted(name: string, names: readonly string[]): boolean {
  if (names.length === 0) return true;
  return names.some((one) =>
    one.endsWith("*") ? name.startsWith(one.slice(0, -1)) : name === one,
  );
}

function unknown(names: readonly string[], all: readonly Family[]): SymphonyError {
  const known = all.map(({ name }) => name);
  return new SymphonyError("not_found", `the server has no metric ${names.join(" ")}`, {
    hint: hintAt(names[0] ?? "", known, "symphony metrics"),
  });
}

function withoutLines({ lines: _, ...family }: Family) {
  return family;
}

/** One metric of the Prometheus text format 0.0.4 with its help, type and samples. */
export interface Family {
  readonly name: string;
  readonly help: string | null;
  /** `counter`, `gauge`, `histogram`, `summary` or `untyped`. */
  readonly type: string;
  readonly samples: readonly Sample[];
  /** As they were received. */
  readonly lines: readonly string[];
}

interface Sample {
  /** The family's name, with `_bucket`, `_sum` or `_count` in a histogram. */
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** null for NaN and the infinities, which JSON numbers cannot express. */
  readonly value: number | null;
}

interface OpenFamily {
  readonly name: string;
  help: string | null;
  type: string;
  readonly samples: Sample[];
  readonly lines: string[];
}

/** The metrics in `text`, in its order; lines that are neither comment nor sample are ignored. */
export function parseExposition(text: string): readonly Family[] {
  const families = new Map<string, OpenFamily>();
  let last: OpenFamily | null = null;
  for (const line of text.split("\n")) {
    const comment = /^# (HELP|TYPE) (\S+) ?(.*)$/.exec(line);
    const sample = comment ? null : sampleOf(line);
    const name: string | null | undefined =
      comment?.[2] ?? (sample && familyName(sample.name, last));
    if (name == null) continue;
    last = families.get(name) ?? { name, help: null, type: "untyped", samples: [], lines: [] };
    families.set(name, last);
    last.lines.push(line);
    if (sample) last.samples.push(sample);
    if (comment?.[1] === "HELP") last.help = comment[3] ?? "";
    if (comment?.[1] === "TYPE") last.type = comment[3] ?? "untyped";
  }
  return [...families.values()];
}

/** The samples of a histogram have names with a suffix, and follow its comments. */
function familyName(sample: string, above: OpenFamily | null): string {
  const part = above && sample.startsWith(`${above.name}_`);
  return part && /^(histogram|summary)$/.test(above.type) ? above.name : sample;
}

function sampleOf(line: string): Sample | null {
  const parts = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)(?: -?\d+)?$/.exec(line);
  if (!parts) return null;
  const [, name = "", labels = "", value = ""] = parts;
  const pairs = labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g);
  const number = Number(value);
  return {
    name,
    labels: Object.fromEntries([...pairs].map(([, key, text]) => [key, unescaped(text ?? "")])),
    value: Number.isFinite(number) ? number : null,
  };
}

function unescaped(text: string): string {
  return text.replaceAll(/\\(.)/g, (_, letter: string) => (letter === "n" ? "\n" : letter));
}

/** Lists the models of the configured provider. */
export const modelsCommand = row({
  examples: ["symphony models", "symphony models --json | jq -r '.models[].id'"],
  call: async (_, context) => (await context.client()).models.list(),
  print({ models, model, provider: { kind, base_url: url, list } }, context) {
    if (list === "agent") {
      context.note(`The provider's address is not known: this is the list of ${kind} itself.`);
    }
    if (model !== null && models.length > 0 && !models.some(({ in_use: used }) => used)) {
      const meant = closest(
        model,
        models.map(({ id }) => id),
      );
      const guess = meant === null ? "" : `; did you mean ${meant}?`;
      context.note(`The model in use, ${model}, is not among them${guess}`);
    }
    const columns = [
      { title: "MODEL" },
      { title: "OWNER", drop: 2 },
      { title: "CREATED", drop: 1 },
    ] as const;
    const rows = models.map(({ id, owned_by: owner, created_at: created, in_use: used }) => [
      used ? `${id} (in use)` : id,
      owner ?? "-",
      created?.slice(0, 10) ?? "-",
    ]);
    const totals = `${rows.length} of ${kind}${url === null ? "" : `, ${url}`}`;
    return printPage({ columns, rows, totals }, context);
  },
});
