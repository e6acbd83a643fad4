import { realpath } from "node:fs/promises";
import { dirname } from "node:path";
import type { Clock } from "../../clock.ts";
import { type Environment, loginEnvironment } from "../../process/login.ts";
import { hidingLine, sandboxLine } from "../../process/sandbox.ts";
import { type AgentRuntime, openOrClose, type SessionSpec } from "../agent.ts";
import { firstStartIn } from "../first-start.ts";
import type { CodexHomes } from "./home.ts";
import { CodexSession } from "./session.ts";
import type { CodexConfig } from "./settings.ts";

export interface CodexRuntimeOptions {
  /** Read at each start: a live session keeps the settings it was started with. */
  config(): CodexConfig;
  readonly clock: Clock;
  readonly env: NodeJS.ProcessEnv;
  /** Without it codex uses the operator's own home. */
  readonly homes?: CodexHomes;
  /** What codex's variables are taken from; that of the login shell if omitted. */
  environment?(config: CodexConfig): Promise<Environment>;
}

const alone =
  "symphony's own sandbox does not stand around codex here, only its commands are confined (docs/agents/codex.md, two sandboxes)";

/** Runs `codex app-server`, or another program in `codex.command` that uses its protocol. */
export function createCodexRuntime({
  config,
  clock,
  env,
  homes,
  environment = () => loginEnvironment(env),
}: CodexRuntimeOptions): AgentRuntime {
  const probed = new Map<string, Promise<void>>();
  return {
    kind: "codex",
    async start(spec, signal) {
      signal.throwIfAborted();
      const settings = config();
      const home = (await homes?.prepare(settings, spec)) ?? null;
      const scratch = (await home?.scratch(spec.runId)) ?? null;
      const open = async () => {
        signal.throwIfAborted();
        const outer = (await homes?.around(settings, spec, home)) ?? null;
        if (!outer && spec.level !== "danger") spec.onLog(alone);
        const hidden = (await homes?.hiddenAround(settings, spec, home)) ?? [];
        const command = outer
          ? await sandboxLine(settings.command, outer)
          : await hiding(settings.command, { hidden, spec, keep: home && [dirname(home.path)] });
        const session = new CodexSession({
          ...{ spec, config: settings, clock, home, scratch, command, hidden },
          env: { ...(await environment(settings)) },
          probedOnce: (key, probe) => onceFor(probed, key, probe),
        });
        return openOrClose(session, signal);
      };
      return home ? firstStartIn(home.path).run(signal, open) : open();
    },
  };
}

/** The line in a mount that hides what `hiddenAround` says, except the workspace, what it borrows, and `keep`. */
export async function hiding(
  line: string,
  {
    hidden,
    spec: { workspace, borrowed = [] },
    keep,
  }: { hidden: readonly string[]; spec: SessionSpec; keep: readonly string[] | null },
): Promise<string> {
  if (hidden.length === 0 || keep === null) return line;
  // What is hidden is canonical: a mount through a link into it would have no place.
  const real = (path: string) => realpath(path).catch(() => path);
  const writable = await Promise.all([workspace, ...keep].map(real));
  const readable = await Promise.all(borrowed.map(real));
  return hidingLine(line, { cwd: workspace, hidden, writable, readable });
}

/**
 * A success is remembered; a failure is tried again, because the operator may have fixed the cause.
 */
export async function onceFor(
  done: Map<string, Promise<void>>,
  key: string,
  work: () => Promise<void>,
): Promise<void> {
  const known = done.get(key);
  if (known !== undefined) return known;
  const running = work();
  done.set(key, running);
  try {
    await running;
  } catch (error) {
    done.delete(key);
    throw error;
  }
}
