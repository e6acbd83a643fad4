import type { Command } from "commander";
import { exchange } from "../client/client.ts";
import { paths } from "../contract/paths.ts";
import { SymphonyError } from "../core/model/errors.ts";
import type { CommandContext, Run } from "./context.ts";
import { closest, exitCodes } from "./failure.ts";
import { examples } from "./help.ts";
import { factLines, span, tableLines } from "./output.ts";

export function declareRuntime(command: Command, run: Run): void {
  examples(command, "symphony runtime", "symphony runtime --json | jq -r .version").action(() =>
    run(runtime),
  );
}

export function declareRefresh(command: Command, run: Run): void {
  examples(command, "symphony refresh").action(() => run(refresh));
}

export async function runtime(context: CommandContext): Promise<number> {
  const client = await context.client();
  const facts = await client.system.runtime();
  if (context.json) {
    context.printJson(facts);
    return exitCodes.done;
  }
  const { server, tracker, agent } = facts;
  const health = tracker.healthy ? "healthy" : `failing: ${tracker.last_error?.message ?? "?"}`;
  const on = Object.entries(facts.features).flatMap(([name, enabled]) => (enabled ? [name] : []));
  const lines = factLines(
    [
      ["version", `${facts.version}, Node.js ${facts.node_version}, ${facts.platform}`],
      ["process", `${facts.pid}, up ${span(facts.uptime_seconds * 1_000)}`],
      ["address", `${server.host}:${server.port}, auth ${server.auth}`],
      ["workflow", facts.workflow_path],
      ["data", facts.data_dir],
      ["tracker", `${tracker.kind}, ${health}`],
      ["agent", [agent.kind, agent.model, agent.command].filter(Boolean).join(", ")],
      ["level", agent.level],
      ["features", on.join(", ") || "-"],
    ],
    await context.paint(),
  );
  context.print(lines.join("\n"));
  return exitCodes.done;
}

export async function refresh(context: CommandContext): Promise<number> {
  const client = await context.client();
  const reply = await client.system.refresh();
  if (context.json) context.printJson(reply);
  const joined = reply.coalesced ? ", together with one that was already due" : "";
  context.note(`Poll and reconcile are on their way${joined}`);
  return exitCodes.done;
}

export function declareMetrics(command: Command, run: Run): void {
  examples(
    command,
    "symphony metrics",
    "symphony metrics symphony_issues symphony_attempts_total",
    "symphony metrics --json | jq '.metrics[] | select(.name == \"symphony_issues\").samples'",
  )
    .argument("[name...]", "only these metrics; a name that ends in * stands for all that begin so")
    .action((names: readonly string[]) => run((context) => metrics(names, context)));
}

/** Prints what the server's `/metrics` tells: its own text, or `{"metrics": […]}`. */
export async function metrics(names: readonly string[], context: CommandContext): Promise<number> {
  const server = await context.server();
  const { method, path } = paths.system.metrics;
  const { text } = await exchange(server, { method, path, headers: { accept: "text/plain" } });
  const all = parseExposition(text);
  const families = all.filter(({ name }) => wanted(name, names));
  if (families.length === 0) throw unknown(names, all);
  if (context.json) context.printJson({ metrics: families.map(withoutLines) });
  else context.print(families.flatMap(({ lines }) => lines).join("\n"));
  return exitCodes.done;
}

function wanted(name: string, names: readonly string[]): boolean {
  if (names.length === 0) return true;
  return names.some((one) =>
    one.endsWith("*") ? name.startsWith(one.slice(0, -1)) : name === one,
  );
}

function unknown(names: readonly string[], all: readonly Family[]): SymphonyError {
  const meant = closest(
    names[0] ?? "",
    all.map(({ name }) => name),
  );
  return new SymphonyError("not_found", `the server has no metric ${names.join(" ")}`, {
    hint: meant === null ? "symphony metrics" : `did you mean ${meant}?`,
  });
}

function withoutLines({ lines: _, ...family }: Family) {
  return family;
}

/** One metric of the Prometheus text format 0.0.4 with everything that was said of it. */
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
  /** null for what JSON has no number for: NaN and the infinities. */
  readonly value: number | null;
}

interface OpenFamily {
  readonly name: string;
  help: string | null;
  type: string;
  readonly samples: Sample[];
  readonly lines: string[];
}

/** The metrics in `text`, in its order; lines that are neither comment nor sample are passed over. */
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

/** A histogram's lines have names of their own, and stand below its comments. */
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

export function declareModels(command: Command, run: Run): void {
  examples(command, "symphony models", "symphony models --json | jq -r '.models[].id'").action(() =>
    run(models),
  );
}

export async function models(context: CommandContext): Promise<number> {
  const reply = await (await context.client()).models.list();
  if (context.json) {
    context.printJson(reply);
    return exitCodes.done;
  }
  const columns = [{ title: "MODEL" }, { title: "OWNER" }, { title: "CREATED" }] as const;
  const rows = reply.models.map(({ id, owned_by: owner, created_at: created }) => [
    id,
    owner ?? "-",
    created?.slice(0, 10) ?? "-",
  ]);
  const shape = { columns, rows, width: context.width, paint: await context.paint() };
  context.print(tableLines(shape).join("\n"));
  const { kind, base_url: url } = reply.provider;
  context.note(`${rows.length} of ${kind}${url === null ? "" : `, ${url}`}`);
  return exitCodes.done;
}
