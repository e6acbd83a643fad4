import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import { promisify } from "node:util";

// What every bench needs: rows with their aims, medians and their spread, the load by others, and wrk.

const run = promisify(execFile);
const asJson = process.env["SYMPHONY_BENCH_JSON"] === "1";

/** One measured figure. */
export interface Row {
  readonly name: string;
  readonly value: number;
  readonly unit: "ms" | "MB" | "x" | "%" | "1" | "/s";
  /** How far the middle half of the rounds lies apart; absent: measured once. */
  readonly spread?: number;
  /** What it has to reach; absent: there is no aim. */
  readonly aim?: { readonly atMost: number } | { readonly atLeast: number };
  /** What else was measured with it. */
  readonly note?: string;
}

/** Prints a row, as a line of text or of JSON; an aim that was missed makes the exit code 1. */
export function report(row: Row): void {
  const missed =
    row.aim !== undefined &&
    !("atMost" in row.aim ? row.value <= row.aim.atMost : row.value >= row.aim.atLeast);
  if (missed) process.exitCode = 1;
  const value = Number(row.value.toPrecision(4));
  if (asJson) {
    process.stdout.write(`${JSON.stringify({ ...row, value, missed })}\n`);
    return;
  }
  const figure = `${value} ${row.unit === "1" ? "" : row.unit}`.trim();
  const spread = row.spread === undefined ? "" : `±${Number(row.spread.toPrecision(2))}`;
  const aim = row.aim === undefined ? "" : aimText(row.aim);
  const parts = [row.name.padEnd(44), figure.padStart(12), spread.padEnd(8), aim.padEnd(16)];
  process.stdout.write(
    `${[...parts, missed ? "MISSED" : "", row.note ?? ""].join(" ").trimEnd()}\n`,
  );
}

function aimText(aim: NonNullable<Row["aim"]>): string {
  return "atMost" in aim ? `at most ${aim.atMost}` : `at least ${aim.atLeast}`;
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(Math.floor(sorted.length * share), sorted.length - 1)] ?? Number.NaN;
}

/** The median and half the distance between the quartiles. */
export function summary(values: readonly number[]): Pick<Row, "value" | "spread"> {
  const spread = (quantile(values, 0.75) - quantile(values, 0.25)) / 2;
  return { value: median(values), spread };
}

/** The machine in one line, for the head of a table. */
export function machine(): string {
  const [first] = cpus();
  const load = loadavg()[0]?.toFixed(1);
  return `${cpus().length} x ${first?.model.trim()}, Node ${process.versions.node}, load ${load}`;
}

/** Seconds of processor time of `pid` and of the whole machine since the start. */
function ticks(pid: number): { readonly own: number; readonly all: number } {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)?.split(" ") ?? [];
  const [line = ""] = readFileSync("/proc/stat", "utf8").split("\n");
  const [user = 0, nice = 0, system = 0] = line.split(/\s+/).slice(1).map(Number);
  return { own: Number(fields[11]) + Number(fields[12]), all: user + nice + system };
}

/** The share of the machine's processors that others took while `work` ran: `pids` and this process are ours. */
export async function foreignCpu<T>(
  pids: readonly number[],
  work: () => Promise<T>,
): Promise<{ readonly result: T; readonly percent: number }> {
  const all = [...pids, process.pid];
  const own = () => all.reduce((sum, pid) => sum + ticks(pid).own, 0);
  const [before, begun, started] = [own(), ticks(process.pid).all, performance.now()];
  const result = await work();
  const spent = ticks(process.pid).all - begun - (own() - before);
  const possible = ((performance.now() - started) / 10) * cpus().length;
  return { result, percent: Math.max((spent / possible) * 100, 0) };
}

/** CPU time of a process so far, in ms. */
export function cpuMs(pid: number): number {
  return ticks(pid).own * 10;
}

export function residentMb(pid: number): number {
  const text = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+)/.exec(text)?.[1]) / 1_024;
}

export const connections = 10;

interface Load {
  readonly url: string;
  readonly seconds: number;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Answers a second by `wrk`, a client in C that is faster than any server here. Throws for any other status than 200 and 304. */
export async function wrk({ url, seconds, headers = {} }: Load): Promise<number> {
  const sent = Object.entries(headers).flatMap(([name, value]) => ["-H", `${name}: ${value}`]);
  const args = ["-t1", `-c${connections}`, `-d${seconds}s`, ...sent, url];
  const { stdout } = await run("wrk", args).catch((cause: unknown) => {
    throw new Error("wrk is needed: apt-get install wrk", { cause });
  });
  const refused = /Non-2xx or 3xx responses: (\d+)/.exec(stdout)?.[1];
  if (refused !== undefined) throw new Error(`${url}: ${refused} were refused`);
  return Number(/Requests\/sec:\s+([\d.]+)/.exec(stdout)?.[1]);
}
