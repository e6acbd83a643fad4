import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** Start-up of the command line against a bare Node of the same run: absolute figures depend on the machine. */
const rounds = 15;
const bin = fileURLToPath(new URL("../bin/symphony.js", import.meta.url));
const dataDir = mkdtempSync(join(tmpdir(), "symphony-bench-"));

const server = createServer((request, response) => {
  const isRuntime = request.url === "/api/v1/runtime";
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify(isRuntime ? { pid: process.pid } : snapshot(50)));
});
server.listen(0, "127.0.0.1");
await once(server, "listening");
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
writeFileSync(
  join(dataDir, "runtime.json"),
  JSON.stringify({ url, pid: process.pid, token: null }),
);

const cases = [
  { name: "node -e 0", limit: null, args: ["-e", "0"] },
  { name: "--version", limit: 1.6, args: [bin, "--version"] },
  { name: "--help", limit: 2, args: [bin, "--help"] },
  { name: "state --json", limit: 2, args: [bin, "state", "--json", "--data-dir", dataDir] },
  { name: "state --json --url", limit: 2, args: [bin, "state", "--json", "--url", url] },
];

const times = cases.map((): number[] => []);
// The first round fills the compile cache and is not counted; alternating spreads a change of the machine's speed evenly.
for (let round = 0; round <= rounds; round += 1) {
  for (const [index, { args }] of cases.entries()) {
    const tookMs = await timed(args);
    if (round > 0) times[index]?.push(tookMs);
  }
}
server.close();
rmSync(dataDir, { recursive: true });

const [bare = Number.NaN, ...rest] = times.map(median);
const report = [`${"node -e 0".padEnd(20)} ${bare.toFixed(1)} ms`];
for (const [index, tookMs] of rest.entries()) {
  const { name, limit } = cases[index + 1] ?? { name: "?", limit: null };
  const ratio = tookMs / bare;
  const missed = limit !== null && ratio > limit;
  if (missed) process.exitCode = 1;
  const verdict = `limit ${limit?.toFixed(1)}${missed ? "  MISSED" : ""}`;
  report.push(`${name.padEnd(20)} ${tookMs.toFixed(1)} ms  ${ratio.toFixed(2)} x  ${verdict}`);
}
process.stdout.write(`${report.join("\n")}\n`);

async function timed(args: readonly string[]): Promise<number> {
  const started = performance.now();
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  child.stdout.resume();
  const [code] = await once(child, "close");
  if (code !== 0) throw new Error(`${args.join(" ")} ended with ${code}`);
  return performance.now() - started;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

/** As large as a busy server's. */
function snapshot(rows: number): unknown {
  const running = Array.from({ length: rows }, (_, index) => ({
    issue_identifier: `ENG-${index}`,
    title: "Give every journal entry the identifier of the request that caused it",
    status: "running",
  }));
  return { generated_at: new Date().toISOString(), seq: 1, counts: { running: rows }, running };
}
