import { mkdtempDisposable } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Clock } from "../../clock.ts";
import { messageOf, SymphonyError } from "../../model/errors.ts";
import { agentEnvironment, launchLine, openProxies } from "../../process/environment.ts";
import { loginEnvironment } from "../../process/login.ts";
import { AgentProcess } from "../../process/program.ts";
import { partOf } from "../../process/table.ts";
import { listOf, objectOf, textOf } from "../../text/text.ts";
import { type Model, modelId, providerError } from "../agent.ts";
import { JsonRpcPeer } from "../json-rpc.ts";
import type { CodexConfig } from "./settings.ts";

/** The dependencies for starting the agent. */
export interface CodexModelsDeps {
  readonly clock: Clock;
  readonly version: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The cookie that identifies its processes. */
  readonly runId: string;
  /** Names of environment variables that the agent must never see. */
  secretEnvNames(): readonly string[];
}

const maxPages = 20;
const methodNotFound = -32_601;

/**
 * codex's own list: starts an app-server in an empty directory, requests the list, and ends the
 * app-server.
 */
export async function askCodex(
  config: CodexConfig,
  deps: CodexModelsDeps,
  signal: AbortSignal,
): Promise<Model[]> {
  await using empty = await mkdtempDisposable(join(tmpdir(), "symphony-models-"));
  const login = await loginEnvironment(deps.env);
  const { peer, stop } = start(config, { ...deps, env: login }, empty.path);
  const leave = () => peer.close(stopping());
  signal.addEventListener("abort", leave, { once: true });
  if (signal.aborted) leave();
  try {
    return await ask(peer, deps.version);
  } catch (error) {
    throw asProviderError(error);
  } finally {
    signal.removeEventListener("abort", leave);
    await stop();
  }
}

function start(config: CodexConfig, deps: CodexModelsDeps, cwd: string) {
  const { clock, env } = deps;
  // Other lists may be asked for at the same time.
  const runId = partOf(deps.runId, "codex");
  const secretNames = deps.secretEnvNames();
  const passthrough = [...config.envPassthrough, ...openProxies(env)];
  const agent = new AgentProcess({
    line: launchLine(config.command, secretNames, { path: env["PATH"] }),
    cwd,
    env: agentEnvironment({ env, passthrough, secretNames, runId }),
    runId,
    onLine: (line) => peer.receive(line),
    onStderr: () => {},
    onEnd: (error) => peer.close(error),
  });
  const peer = new JsonRpcPeer({
    clock,
    timeoutMs: config.readTimeoutMs,
    write: (line) => agent.write(line),
    onNotification: () => {},
    onRequest: ({ id }) => peer.replyError(id, methodNotFound, "this process answers no requests"),
    onStray: () => {},
  });
  return { peer, stop: () => agent.stop() };
}

async function ask(peer: JsonRpcPeer, version: string): Promise<Model[]> {
  await peer.request("initialize", {
    clientInfo: { name: "symphony", title: "Symphony", version },
    capabilities: { experimentalApi: true, requestAttestation: false },
  });
  peer.notify("initialized");
  const models = new Map<string, Model>();
  let cursor: string | null = null;
  for (let page = 0; page < maxPages; page += 1) {
    const answer = objectOf(await peer.request("model/list", cursor === null ? {} : { cursor }));
    if (!Array.isArray(answer["data"])) {
      throw providerError("response", "the agent's answer is not a list of models");
    }
    for (const entry of listOf(answer["data"])) {
      const { model, id } = objectOf(entry);
      const name = textOf(model) ?? textOf(id) ?? "";
      if (modelId.test(name)) models.set(name, { id: name, ownedBy: null, createdAt: null });
    }
    cursor = textOf(answer["nextCursor"]);
    if (cursor === null) break;
  }
  return [...models.values()];
}

function stopping(): SymphonyError {
  return new SymphonyError("unavailable", "the server is stopping");
}

function asProviderError(error: unknown): unknown {
  if (!(error instanceof SymphonyError)) return error;
  if (error.code === "provider_error" || error.code === "unavailable") return error;
  const { code } = error;
  return providerError("agent", messageOf(error), {
    agentError: code,
    hint: error.hint ?? "check codex.command: symphony config get codex",
    cause: error,
  });
}
