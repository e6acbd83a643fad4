import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { median, report, summary } from "./kit.ts";
import { Workshop } from "./served.ts";

// Start-up of the command line, as it is published, against a bare Node of the same run.

const rounds = 15;
using workshop = new Workshop();
const bin = workshop.built();
const dataDir = workshop.dir;

const server = createServer((request, response) => {
  response.setHeader("content-type", "application/json").setHeader("symphony-version", "0");
  response.end(JSON.stringify(answer(request.url ?? "")));
});
server.listen(0, "127.0.0.1");
await once(server, "listening");
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
writeFileSync(
  join(dataDir, "runtime.json"),
  JSON.stringify({ url, pid: process.pid, token: null }),
);

const cases = [
  { name: "--version", limit: 1.6, args: ["--version"] },
  { name: "--help", limit: 2, args: ["--help"] },
  { name: "state --json", limit: 1.8, args: ["state", "--json", "--data-dir", dataDir] },
  { name: "issue list --json", limit: 2, args: ["issue", "list", "--json", "--url", url] },
];

const bare: number[] = [];
const times = cases.map((): number[] => []);
// The first round fills the compile cache and is not counted; alternating spreads a change of the machine's speed evenly.
for (let round = 0; round <= rounds; round += 1) {
  const bareMs = await timed(["-e", "0"]);
  if (round > 0) bare.push(bareMs);
  for (const [index, { args }] of cases.entries()) {
    const tookMs = await timed([bin, ...args]);
    if (round > 0) times[index]?.push(tookMs);
  }
}
server.close();

report({ name: "node -e 0", ...summary(bare), unit: "ms" });
for (const [index, { name, limit }] of cases.entries()) {
  const ratios = (times[index] ?? []).map((ms, round) => ms / (bare[round] ?? Number.NaN));
  const note = `${median(times[index] ?? []).toFixed(0)} ms`;
  report({ name, ...summary(ratios), unit: "x", aim: { atMost: limit }, note });
}

async function timed(args: readonly string[]): Promise<number> {
  const env = { ...process.env, XDG_CACHE_HOME: join(workshop.dir, "cache") };
  const started = performance.now();
  const child = spawn(process.execPath, args, { env, stdio: ["ignore", "pipe", "inherit"] });
  child.stdout.resume();
  const [code] = await once(child, "close");
  if (code !== 0) throw new Error(`${args.join(" ")} ended with ${code}`);
  return performance.now() - started;
}

function answer(path: string): unknown {
  if (path === "/api/v1/runtime") return { pid: process.pid };
  if (!path.startsWith("/api/v1/issues")) return snapshot(50);
  return { issues: snapshot(50).running, total: 50, limit: 50, offset: 0 };
}

/** As large as a busy server's. */
function snapshot(rows: number) {
  const running = Array.from({ length: rows }, (_, index) => ({
    issue_identifier: `ENG-${index}`,
    title: "Give every journal entry the identifier of the request that caused it",
    status: "running",
  }));
  return { generated_at: new Date().toISOString(), seq: 1, counts: { running: rows }, running };
}
