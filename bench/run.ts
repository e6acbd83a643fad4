import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { machine } from "./kit.ts";

// Every bench by its name: `npm run bench [-- NAME… [--json]]`. --json: one object per row, and per line of text where a
// bench prints text. The exit code is 1 when an aim was missed.

const benches: Readonly<Record<string, string>> = {
  life: "start to first 200, memory at rest, SIGTERM under load",
  streams: "memory: a thousand event streams that nothing reads; one minute after load",
  http: "reads of the API against a bare node:http server that sends the same bytes",
  webhook: "signed deliveries that are on disk, against the same duties in a bare server",
  load: "100, 500 and 1,000 agents: events, event loop, SIGTERM",
  orchestrator: "decisions with 10,000 candidates; a freed slot to the next start",
  "start-up": "commands against a bare node",
  templates: "prompts",
  record: "the journal",
  history: "a million events: stored, removed, found",
  audit: "pages and verification of a million audit entries",
  conflicts: "merges tried between branches",
  delivery: "from the end of a turn to the pushed branch",
  workspaces: "ten workspaces of a repository of 100 MB",
  watch: "the terminal view (needs tmux)",
  trackers: "polls of 10,000 issues of GitHub, and of a board (needs SYMPHONY_EQUIPMENT)",
  fleet:
    "workers: dispatch, guidance and abort through the engine, what it costs (needs redis-server)",
  agents: "real agents: dispatch to first request",
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: "boolean", default: false } },
});
const unknown = positionals.filter((name) => !(name in benches));
if (unknown.length > 0) {
  const known = Object.entries(benches).map(([name, what]) => `  ${name.padEnd(14)} ${what}`);
  process.stderr.write(`no bench ${unknown.join(", ")}; these are known:\n${known.join("\n")}\n`);
  process.exit(2);
}
const names = positionals.length > 0 ? positionals : Object.keys(benches);
if (!values.json) process.stdout.write(`${machine()}\n`);
for (const name of names) {
  if (!values.json) process.stdout.write(`\n${name}: ${benches[name]}\n`);
  const file = fileURLToPath(new URL(`${name}.ts`, import.meta.url));
  const env = { ...process.env, SYMPHONY_BENCH_JSON: values.json ? "1" : "0" };
  const { status, stdout } = spawnSync(process.execPath, [file], {
    env,
    stdio: ["ignore", values.json ? "pipe" : "inherit", "inherit"],
    maxBuffer: 64 * 1024 * 1024,
  });
  if (status !== 0) process.exitCode = 1;
  if (values.json) process.stdout.write(asJson(name, String(stdout)));
}

/** Rows carry the name of their bench; other lines become `{ bench, text }`. */
function asJson(bench: string, output: string): string {
  const lines = output.split("\n").filter((line) => line.trim() !== "");
  return lines.map((line) => `${JSON.stringify({ bench, ...rowIn(line) })}\n`).join("");
}

function rowIn(line: string): object {
  try {
    return JSON.parse(line);
  } catch {
    return { text: line };
  }
}
