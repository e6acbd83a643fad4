import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { systemClock } from "../src/core/clock.ts";
import { toConfig } from "../src/core/config/resolve.ts";
import { parseWritten } from "../src/core/config/schema.ts";
import { loadWorkflow } from "../src/core/config/workflow.ts";
import { sections } from "../src/core/kinds.ts";
import { makeDataDir } from "../src/core/store/lock.ts";
import { openLocalIssues } from "../src/core/tracker/local/issues.ts";
import { localOptions } from "../src/core/tracker/local/settings.ts";
import { fillAuditLog } from "./audit-log.ts";

// The server as it is published, started from its own build as a process of its own.

/** The signing secret of its webhooks. */
export const secret = "bench-signing-secret";
const root = fileURLToPath(new URL("..", import.meta.url));

export interface Running {
  readonly child: ChildProcess;
  readonly pid: number;
  readonly url: string;
  /** The headers that admit a caller. */
  readonly headers: Readonly<Record<string, string>>;
  /** From the start of the process to its first 200. */
  readonly startMs: number;
}

interface Project {
  readonly issues?: number;
  readonly auditEntries?: number;
  readonly agents?: number;
  /** The line of the agent. It runs without a sandbox, which costs the same everywhere. */
  readonly command?: string;
}

/** A directory for builds and projects, removed at the end, and the servers that were started. */
export class Workshop implements Disposable {
  readonly dir = mkdtempSync(join(tmpdir(), "symphony-bench-"));
  readonly #servers: ChildProcess[] = [];

  /** A copy of the package as it is published: without sources, so that the compiled code runs. */
  built(): string {
    const dir = join(this.dir, "package");
    mkdirSync(dir);
    execFileSync("npm", ["run", "--silent", "build"], { cwd: root });
    for (const name of ["bin", "dist", "package.json"])
      cpSync(join(root, name), join(dir, name), { recursive: true });
    symlinkSync(join(root, "node_modules"), join(dir, "node_modules"));
    return join(dir, "bin", "symphony.js");
  }

  async project(name: string, options: Project = {}): Promise<string> {
    const { issues = 0, auditEntries = 0, agents = 1, command } = options;
    const dir = join(this.dir, name);
    mkdirSync(dir);
    const settings = {
      tracker: { kind: "local" },
      workspace: { root: "workspaces" },
      polling: { interval_ms: 600_000 },
      agent: { max_concurrent_agents: agents, ...(command && { level: "danger" }) },
      host: { min_memory: 0, max_load: 0 },
      codex: { command: command ?? "sleep 600", read_timeout_ms: 600_000, stall_timeout_ms: 0 },
    };
    const file = join(dir, "WORKFLOW.md");
    writeFileSync(file, `---\n${JSON.stringify(settings)}\n---\nWork on {{ issue.title }}\n`);
    const dataDir = join(dir, ".symphony");
    makeDataDir(dataDir);
    if (auditEntries > 0) fillAuditLog(dataDir, auditEntries);
    const { config } = await loadWorkflow(file);
    const options_ = localOptions(toConfig(parseWritten(config, sections), dir, sections).tracker);
    const tracker = openLocalIssues(dataDir, options_, systemClock);
    for (let at = 1; at <= issues; at++) {
      tracker.create({
        title: `Give every journal entry the identifier of request ${at}`,
        state: "Todo",
      });
    }
    tracker.close();
    return dir;
  }

  async serve(bin: string, dir: string): Promise<Running> {
    const started = performance.now();
    const env = {
      ...process.env,
      LINEAR_WEBHOOK_SECRET: secret,
      HOME: this.dir,
      XDG_CACHE_HOME: join(this.dir, "cache"),
    };
    const child = spawn(process.execPath, [bin, "serve", "--port", "0", "--i-understand"], {
      cwd: dir,
      env,
      stdio: ["ignore", "ignore", process.env["SYMPHONY_BENCH_LOG"] ? "inherit" : "ignore"],
    });
    this.#servers.push(child);
    for (;;) {
      const place = placeOf(join(dir, ".symphony", "runtime.json"), child.pid);
      const { url, headers } = place ?? { url: "", headers: {} };
      const ok = place && (await fetch(`${url}/api/v1/runtime`, { headers }).catch(() => null))?.ok;
      const startMs = performance.now() - started;
      if (place && ok) return { child, pid: child.pid ?? 0, ...place, startMs };
      if (child.exitCode !== null) throw new Error(`serve ended with ${child.exitCode}`);
      await delay(2);
    }
  }

  [Symbol.dispose](): void {
    // Those of a bench that failed: they end their agents.
    for (const server of this.#servers) server.kill("SIGTERM");
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 5 });
  }
}

function placeOf(file: string, pid: number | undefined): Pick<Running, "url" | "headers"> | null {
  try {
    const runtime = JSON.parse(readFileSync(file, "utf8"));
    if (runtime.pid !== pid) return null;
    return { url: runtime.url, headers: { authorization: `Bearer ${runtime.token}` } };
  } catch {
    return null;
  }
}

/** Ms from SIGTERM to the end of the process. */
export async function stopped({ child }: Running): Promise<number> {
  const asked = performance.now();
  child.kill("SIGTERM");
  await once(child, "exit");
  return performance.now() - asked;
}
