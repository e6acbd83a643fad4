import { mkdtempDisposable } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Clock } from "../../clock.ts";
import { messageOf, SymphonyError } from "../../model/errors.ts";
import { partOf } from "../../process/table.ts";
import { type Model, modelId, providerError } from "../agent.ts";
import { environmentOf } from "../stored-values.ts";
import { openWayOut } from "../way-out.ts";
import { ClaudeConnection } from "./connection.ts";
import { credentialOf } from "./credential.ts";
import { launchOf } from "./launch.ts";
import { initialized } from "./protocol.ts";
import type { ClaudeConfig } from "./settings.ts";

/** What starting the agent needs. */
interface ClaudeModelsDeps {
  readonly clock: Clock;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The cookie that identifies its processes. */
  readonly runId: string;
  /** Names of environment variables that the agent must never see. */
  secretEnvNames(): readonly string[];
  lookup(name: string): string | undefined;
}

const noTools = { specs: [], call: async () => ({ success: false, output: "there are no tools" }) };

/**
 * Claude Code's own list: starts it in an empty directory, asks for the list, and ends it. No model
 * is requested.
 */
export async function askClaude(
  config: ClaudeConfig,
  deps: ClaudeModelsDeps,
  signal: AbortSignal,
): Promise<Model[]> {
  const { clock, env, lookup } = deps;
  // Other lists may be asked for at the same time.
  const runId = partOf(deps.runId, "claude");
  await using empty = await mkdtempDisposable(join(tmpdir(), "symphony-models-"));
  const secretEnvNames = deps.secretEnvNames();
  const spec = { runId, secretEnvNames, level: "danger", model: null, tools: noTools } as const;
  const wall = () => clock.wall();
  const credential = await credentialOf(config, { env, lookup, wall }).catch(() => null);
  const { envPassthrough: passthrough } = config;
  // Who looks a value up also registers it as one that must not be shown.
  const own = await environmentOf(config, { env, lookup, hide: () => {} });
  const open = { spec: { ...spec, onEvent: () => {} }, confinement: null };
  await using way = await openWayOut({ ...open, provider: null, passthrough, env });
  const launch = await launchOf({
    ...{ spec, config, env: own, credential, thread: null, way },
    configDir: join(empty.path, "config"),
  });
  const connection = new ClaudeConnection(
    {
      spec: { workspace: empty.path, runId, onLog: () => {} },
      ...{ launch, clock, timeoutMs: config.readTimeoutMs },
    },
    quiet,
  );
  const leave = () => void connection.stop({ isIdle: false });
  signal.addEventListener("abort", leave, { once: true });
  if (signal.aborted) leave();
  try {
    const { models } = initialized.parse(await connection.request("initialize"));
    const ids = new Set(
      models.flatMap(({ value, resolvedModel }) => [value, resolvedModel ?? value]),
    );
    ids.delete("default");
    return [...ids]
      .filter((id) => modelId.test(id))
      .map((id) => ({ id, ownedBy: null, createdAt: null }));
  } catch (error) {
    if (signal.aborted) throw new SymphonyError("unavailable", "the server is stopping");
    throw asProviderError(error);
  } finally {
    signal.removeEventListener("abort", leave);
    await connection.stop({ isIdle: true });
  }
}

const quiet = {
  received: () => {},
  message: () => {},
  requested: () => {},
  other: () => {},
  malformed: () => {},
  ended: () => {},
};

function asProviderError(error: unknown): SymphonyError {
  const code = error instanceof SymphonyError ? error.code : null;
  const hint = error instanceof SymphonyError ? error.hint : null;
  return providerError("agent", messageOf(error), {
    agentError: code,
    hint: hint ?? "check claude.command: symphony config get claude",
    cause: error,
  });
}
