import { messageOf, SymphonyError } from "../../model/errors.ts";
import { version } from "../../package.ts";
import { runCookie } from "../../process/environment.ts";
import { isObject, type JsonObject, listOf, objectOf, textOf } from "../../text/text.ts";
import type { SessionSpec } from "../agent.ts";
import type { BridgeCommand } from "../bridge.ts";
import { type GuardedLaunch, plainPrompt, sessionMeta } from "../guard/disarm.ts";
import type { AgentImage } from "../images.ts";
import { refusalError } from "../refusals.ts";
import { type Choices, choicesIn, chooseSettings } from "./choices.ts";
import type { AcpLink } from "./link.ts";
import type { AcpConfig } from "./settings.ts";

const protocolVersion = 1;

export interface OpenSession {
  readonly sessionId: string;
  readonly resumed: boolean;
  /** The agent sends the history of the session, some agents also after it was opened. */
  readonly replays: boolean;
  readonly choices: Choices;
  /** True when guidance can be sent during a turn. */
  readonly steers: boolean;
  readonly takesImages: boolean;
}

interface HandshakeDeps {
  readonly link: AcpLink;
  readonly spec: SessionSpec;
  readonly config: AcpConfig;
  readonly guarded: GuardedLaunch;
  /** The server of the tracker's tools; null for none. */
  readonly bridge: BridgeCommand | null;
  notice(message: string): void;
}

/**
 * Initializes the connection, logs in with `acp.auth_method` if it is set, and opens the session in
 * the mode in which the agent asks: resumed if requested and possible.
 */
export async function openSession(deps: HandshakeDeps): Promise<OpenSession> {
  const { link, config } = deps;
  const limitMs = config.readTimeoutMs;
  const hello = objectOf(
    await link.request(
      "initialize",
      {
        protocolVersion,
        // The agent accesses files and terminals itself, inside the sandbox: the client offers
        // neither.
        clientCapabilities: {
          fs: { readTextFile: false, writeTextFile: false },
          terminal: false,
          // Agents may offer options that are on or off.
          session: { configOptions: { boolean: {} } },
        },
        clientInfo: { name: "symphony", title: "Symphony", version: version() },
      },
      limitMs,
    ),
  );
  requireVersion(hello["protocolVersion"]);
  const steers = objectOf(objectOf(hello["_meta"])["steering"])["supported"] === true;
  const { promptCapabilities } = objectOf(hello["agentCapabilities"]);
  const takesImages = objectOf(promptCapabilities)["image"] === true;
  try {
    if (config.authMethod !== null) {
      await link.request("authenticate", { methodId: config.authMethod }, limitMs);
    }
    const opened = (await resume(deps, hello)) ?? (await begin(deps));
    await chooseSettings(opened.sessionId, opened.choices, { ...deps, limitMs });
    return { ...opened, steers, takesImages };
  } catch (error) {
    throw loginNeeded(error, hello) ?? error;
  }
}

/** What a session is opened with, a new one as well as a resumed one. */
function sessionParams({ spec, bridge }: HandshakeDeps): JsonObject {
  const mcpServers = bridge === null ? [] : [serverOf(bridge, spec.runId)];
  return { cwd: spec.workspace, mcpServers, _meta: sessionMeta };
}

function serverOf({ name, command, args, env }: BridgeCommand, runId: string): JsonObject {
  const variables = Object.entries({ ...env, [runCookie]: runId });
  return { name, command, args, env: variables.map(([key, value]) => ({ name: key, value })) };
}

async function begin(deps: HandshakeDeps) {
  const { link, config } = deps;
  const params = sessionParams(deps);
  const opened = await link.request("session/new", params, config.readTimeoutMs);
  const sessionId = textOf(objectOf(opened)["sessionId"]);
  if (sessionId === null || sessionId === "") {
    throw new SymphonyError("response_error", "session/new: the answer contains no session id");
  }
  return { sessionId, resumed: false, replays: false, choices: choicesIn(opened) };
}

async function resume(deps: HandshakeDeps, hello: JsonObject) {
  const { link, spec, config, notice } = deps;
  const sessionId = spec.resumeThreadId;
  const method = resumeMethod(objectOf(hello["agentCapabilities"]));
  if (sessionId === null || method === null) return null;
  try {
    const params = { sessionId, ...sessionParams(deps) };
    const opened = await link.request(method, params, config.readTimeoutMs);
    const replays = method === "session/load";
    return { sessionId, resumed: true, replays, choices: choicesIn(opened) };
  } catch (error) {
    if (!(error instanceof SymphonyError) || error.code !== "response_error") throw error;
    notice(`the session could not be resumed, a new one is started: ${messageOf(error)}`);
    return null;
  }
}

function resumeMethod(capabilities: JsonObject): "session/resume" | "session/load" | null {
  if (isObject(objectOf(capabilities["sessionCapabilities"])["resume"])) return "session/resume";
  return capabilities["loadSession"] === true ? "session/load" : null;
}

function requireVersion(version: unknown): void {
  if (String(version) === String(protocolVersion)) return;
  const message = `the agent uses version ${String(version)} of the protocol, not ${protocolVersion}`;
  throw new SymphonyError("agent_unavailable", message, {
    hint: "install a version of the agent that speaks it",
  });
}

/**
 * The refusal of an agent that requires a login, with the methods it offers; null for any other error. It is one as well when
 * the login of the configuration fails, or waits for a person.
 */
function loginNeeded(error: unknown, hello: JsonObject): SymphonyError | null {
  if (!(error instanceof SymphonyError)) return null;
  const { code, message, details } = error;
  const isLogin = details["method"] === "authenticate" && loginFaults.has(code);
  const isRefused = details["reason"] === "authentication_failed";
  if (!isRefused && !isLogin) return null;
  const ways = listOf(hello["authMethods"]).map((way) => textOf(objectOf(way)["id"]));
  const offered = ways.filter((way) => way !== null).join(", ") || "none";
  const hint = `log in with the agent's own program, or set acp.auth_method (it offers: ${offered}); then: symphony refresh`;
  return isRefused
    ? new SymphonyError(code, message, { details, hint })
    : refusalError("authentication_failed", message, hint);
}

const loginFaults: ReadonlySet<string> = new Set(["response_error", "response_timeout"]);

/** The content of a prompt. */
export function promptBlocks(text: string, images: readonly AgentImage[] = []): JsonObject[] {
  return [
    { type: "text", text: plainPrompt(text) },
    ...images.map(({ mediaType: mimeType, base64: data }) => ({ type: "image", mimeType, data })),
  ];
}
