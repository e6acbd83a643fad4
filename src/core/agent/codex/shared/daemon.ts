import { spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync } from "node:fs";
import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";
import { SymphonyError } from "../../../model/errors.ts";
import { killMatching, liveProcesses, signalProcess } from "../../process-table.ts";
import { fitsSocket } from "./restart-safe.ts";
import { openSocket } from "./socket.ts";
import { watchdogArgs } from "./watchdog.ts";

const startLimitMs = 20_000;
const connectLimitMs = 5_000;
const killLimitMs = 3_000;
const lookMs = 25;

const Record = z.object({
  id: z.string(),
  /** Of the watchdog, which leads the group. */
  pid: z.number(),
  socket: z.string(),
  mark: z.string(),
  started_at: z.number(),
  codex_version: z.string().nullable(),
  config_hash: z.string(),
  orphan_limit_ms: z.number(),
});

/** One shared agent as the data directory tells of it. */
export type DaemonRecord = z.infer<typeof Record>;

export interface Launch {
  /** The shell line of the agent that carries `mark` and listens on `socket`. */
  lineWith(mark: string, socket: string): string;
  readonly env: Readonly<Record<string, string>>;
  /** Agents of another configuration take no further threads. */
  readonly configHash: string;
  readonly orphanLimitMs: number;
}

export interface Place {
  /** Mode 0700, in the data directory. */
  readonly dir: string;
  readonly id: string;
  readonly mark: string;
  readonly heartbeat: string;
  readonly wall: number;
}

/** Starts an agent that outlives this process. Rejects with `codex_not_found` or `port_exit`. */
export async function startDaemon(launch: Launch, place: Place): Promise<DaemonRecord> {
  const { dir, id, mark } = place;
  const socket = join(dir, `${id}.sock`);
  requireShort(socket);
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const log = openSync(join(dir, `${id}.log`), "w", 0o600);
  const { heartbeat } = place;
  const child = spawn(
    "bash",
    watchdogArgs({
      line: launch.lineWith(mark, socket),
      ...{ heartbeat, mark, limitMs: launch.orphanLimitMs },
    }),
    { cwd: dir, env: launch.env, detached: true, stdio: ["ignore", log, log] },
  );
  closeSync(log);
  const ended = new AbortController();
  child.once("exit", () => ended.abort());
  child.once("error", () => ended.abort());
  child.unref();
  const record: DaemonRecord = {
    ...{ id, socket, mark },
    pid: child.pid ?? 0,
    started_at: place.wall,
    codex_version: null,
    config_hash: launch.configHash,
    orphan_limit_ms: launch.orphanLimitMs,
  };
  await saveRecord(dir, record);
  if (await comesUp(record, ended.signal)) return record;
  const failure = await startFailed(dir, id);
  await endDaemon(dir, record);
  throw failure;
}

export async function saveRecord(dir: string, record: DaemonRecord): Promise<void> {
  await writeFile(join(dir, `${record.id}.json`), `${JSON.stringify(record)}\n`, { mode: 0o600 });
}

/** Every agent the directory tells of, alive or not; what cannot be read is left out. */
export async function recordedDaemons(dir: string): Promise<readonly DaemonRecord[]> {
  const names = await readdir(dir).catch(() => []);
  const files = names.filter((name) => name.endsWith(".json"));
  const texts = await Promise.all(files.map((name) => readFile(join(dir, name), "utf8")));
  return texts.flatMap((text) => {
    const found = Record.safeParse(parsed(text));
    return found.success ? [found.data] : [];
  });
}

/** True when it takes connections. */
export async function answers({ socket }: DaemonRecord): Promise<boolean> {
  try {
    (await openSocket(socket, connectLimitMs)).close();
    return true;
  } catch {
    return false;
  }
}

/** True while a process of it is there. */
export async function isAlive({ mark }: DaemonRecord): Promise<boolean> {
  return (await liveProcesses()).some(({ daemon }) => daemon === mark);
}

/** Ends the agent with every command of its threads, and forgets it. */
export async function endDaemon(
  dir: string,
  { id, pid, mark, socket }: DaemonRecord,
): Promise<void> {
  // The number may be anybody's by now, so it is looked at first.
  const live = await liveProcesses();
  const ours = live.filter(({ daemon }) => daemon === mark);
  if (ours.some(({ groupId }) => groupId === pid)) signalProcess(-pid, "SIGTERM");
  await killMatching(({ daemon }) => daemon === mark, killLimitMs);
  await rm(socket, { force: true });
  await rm(join(dir, `${id}.json`), { force: true });
}

async function comesUp(record: DaemonRecord, ended: AbortSignal): Promise<boolean> {
  const end = performance.now() + startLimitMs;
  while (performance.now() < end && !ended.aborted) {
    if (await answers(record)) return true;
    await delay(lookMs);
  }
  return false;
}

async function startFailed(dir: string, id: string): Promise<SymphonyError> {
  const text = await readFile(join(dir, `${id}.log`), "utf8").catch(() => "");
  const missing = /command not found|No such file or directory/.test(text);
  const hint = "install codex, or set codex.command to where it is";
  if (missing) {
    const message = "the agent's command was not found: install it, or set codex.command";
    return new SymphonyError("codex_not_found", message, { hint });
  }
  const log = join(dir, `${id}.log`);
  return new SymphonyError("port_exit", `the shared codex did not start; its output is in ${log}`, {
    hint: "codex.command must take --listen, as codex app-server does",
  });
}

function requireShort(socket: string): void {
  if (fitsSocket(socket)) return;
  throw new SymphonyError(
    "invalid_config",
    `a socket cannot be at ${socket}: its path is too long`,
    {
      details: { path: socket },
      hint: "set --data-dir to a shorter path without quotes",
    },
  );
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
