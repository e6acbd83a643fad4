import { readFileSync } from "node:fs";
import type { AcpConfig } from "../../config/acp-section.ts";
import { messageOf, SymphonyError } from "../../model/errors.ts";
import type { SessionSpec } from "../agent.ts";
import { type GuardedLaunch, sessionMeta } from "../guard/disarm.ts";
import { isObject, type JsonObject, listOf, objectOf, textOf } from "../json-value.ts";
import { type Choices, choicesIn } from "./choices.ts";
import type { AcpLink } from "./link.ts";
import { chooseAskingMode } from "./mode.ts";

const manifest = new URL("../../../../package.json", import.meta.url);
const protocolVersion = 1;
const authRequired = -32_000;

export interface OpenSession {
  readonly sessionId: string;
  readonly resumed: boolean;
  readonly choices: Choices;
  /** True when guidance can be given in mid-turn. */
  readonly steers: boolean;
}

interface World {
  readonly link: AcpLink;
  readonly spec: SessionSpec;
  readonly config: AcpConfig;
  readonly guarded: GuardedLaunch;
  notice(message: string): void;
}

/** Says hello, logs in where `acp.auth_method` says so, and opens the session, in which the agent asks: resumed if wanted and possible. */
export async function openSession(world: World): Promise<OpenSession> {
  const { link, config } = world;
  const limitMs = config.readTimeoutMs;
  const hello = objectOf(
    await link.request(
      "initialize",
      {
        protocolVersion,
        // The agent works with its own hands, which the sandbox holds: nothing is done for it.
        clientCapabilities: { fs: { readTextFile: false, writeTextFile: false }, terminal: false },
        clientInfo: { name: "symphony", title: "Symphony", version: ownVersion() },
      },
      limitMs,
    ),
  );
  requireVersion(hello["protocolVersion"]);
  if (config.authMethod !== null) {
    await link.request("authenticate", { methodId: config.authMethod }, limitMs);
  }
  const steers = objectOf(objectOf(hello["_meta"])["steering"])["supported"] === true;
  try {
    const opened = (await resume(world, hello)) ?? (await begin(world));
    const { approvals } = world.spec.people;
    await chooseAskingMode(opened.sessionId, opened.choices.mode, { ...world, limitMs, approvals });
    return { ...opened, steers };
  } catch (error) {
    throw loginNeeded(error, hello) ?? error;
  }
}

async function begin({ link, spec, config }: World) {
  const params = { cwd: spec.workspace, mcpServers: [], _meta: sessionMeta };
  const opened = await link.request("session/new", params, config.readTimeoutMs);
  const sessionId = textOf(objectOf(opened)["sessionId"]);
  if (sessionId === null || sessionId === "") {
    throw new SymphonyError("response_error", "session/new: the answer holds no session id");
  }
  return { sessionId, resumed: false, choices: choicesIn(opened) };
}

async function resume({ link, spec, config, notice }: World, hello: JsonObject) {
  const sessionId = spec.resumeThreadId;
  const method = resumeMethod(objectOf(hello["agentCapabilities"]));
  if (sessionId === null || method === null) return null;
  try {
    const params = { sessionId, cwd: spec.workspace, mcpServers: [], _meta: sessionMeta };
    const opened = await link.request(method, params, config.readTimeoutMs);
    return { sessionId, resumed: true, choices: choicesIn(opened) };
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
  if (version === protocolVersion) return;
  const message = `the agent speaks version ${String(version)} of the protocol, not ${protocolVersion}`;
  throw new SymphonyError("response_error", message);
}

/** The refusal of an agent that wants a login, with the ways it offers; null for another one. */
function loginNeeded(error: unknown, hello: JsonObject): SymphonyError | null {
  if (!(error instanceof SymphonyError) || error.details["code"] !== authRequired) return null;
  const ways = listOf(hello["authMethods"]).map((way) => textOf(objectOf(way)["id"]));
  const offered = ways.filter((way) => way !== null).join(", ") || "none";
  return new SymphonyError("response_error", `the agent wants a login: ${error.message}`, {
    hint: `log in with the agent's own program, or set acp.auth_method (it offers: ${offered})`,
  });
}

function ownVersion(): string {
  return textOf(objectOf(JSON.parse(readFileSync(manifest, "utf8")))["version"]) ?? "unknown";
}
