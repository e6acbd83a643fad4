import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../../src/core/clock.ts";
import type { Core } from "../../../src/core/core.ts";
import { createLogger } from "../../../src/core/events/log.ts";
import type { Kinds } from "../../../src/core/kinds.ts";
import { createCore } from "../../../src/core/start.ts";
import { createRedactor } from "../../../src/core/text/redact.ts";
import { createApp } from "../../../src/server/app.ts";
import { listen } from "../../../src/server/listen.ts";
import { type Answer, type Ask, send } from "./server.ts";

/** Its agent is on every machine: whether codex is there must not change what a test sees. */
const localWorkflow = `---
tracker: { kind: local, required_labels: [ready] }
workspace: { root: workspaces }
agent: { max_turns: 3 }
codex: { command: sleep 600 }
---
Work on {{ issue.title }}
`;

export interface Setting {
  readonly workflow?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** The tables that the configuration chooses from; default: symphony's tables. */
  readonly kinds?: Kinds;
}

/** A real core and the real application on a free port, with a directory that may be reopened. */
export interface RealServer extends AsyncDisposable {
  readonly core: Core;
  readonly dataDir: string;
  readonly workflowPath: string;
  readonly url: string;
  /** Every line of the log so far. */
  readonly logged: readonly string[];
  ask(path: string, ask?: Ask): Promise<Answer>;
  stop(): Promise<void>;
}

/** A fresh project directory that is removed with its test. */
export async function freshProject(
  setting: Setting = {},
): Promise<{ dir: string } & AsyncDisposable> {
  const dir = await mkdtemp(join(tmpdir(), "symphony-real-"));
  await writeFile(join(dir, "WORKFLOW.md"), setting.workflow ?? localWorkflow);
  return { dir, [Symbol.asyncDispose]: () => rm(dir, { recursive: true, force: true }) };
}

export async function openReal(dir: string, setting: Setting = {}): Promise<RealServer> {
  const dataDir = join(dir, ".symphony");
  const workflowPath = join(dir, "WORKFLOW.md");
  const redactor = createRedactor();
  const clock = systemClock;
  const logged: string[] = [];
  const log = createLogger({
    level: "debug",
    format: "json",
    sinks: [{ name: "test", write: (line: string) => void logged.push(line) }],
    clock,
    redact: (text) => redactor.redact(text),
  });
  const version = "1.2.3";
  const env = { PATH: process.env["PATH"], ...setting.env };
  const core = await createCore({
    ...{ version, workflowPath, dataDir, env, flags: {}, clock, log, redactor },
    ...(setting.kinds && { kinds: setting.kinds }),
  });
  const host = "127.0.0.1";
  const app = createApp(core, { clock, host, token: null });
  const bind = { host, port: 0, dataDir, token: null, version, workflowPath, clock };
  const server = await listen(app, bind);
  await core.start();
  const stop = async () => {
    await core.stop();
    await server.close();
  };
  return {
    core,
    dataDir,
    workflowPath,
    url: server.url,
    logged,
    ask: (path, ask) => send(server.port, path, ask),
    stop,
    [Symbol.asyncDispose]: stop,
  };
}
