import { readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { sep } from "node:path";
import type { CodexConfig } from "../../config/config.ts";
import { SymphonyError } from "../../model/errors.ts";
import type { SessionSpec, ToolSpec, TurnOptions } from "../agent.ts";
import type { JsonRpcPeer } from "../json-rpc.ts";
import { type JsonObject, objectOf, textOf } from "../json-value.ts";
import type { CodexHome } from "./home.ts";
import { permitOf, permitParams } from "./permit.ts";
import { probeSandbox } from "./probe.ts";

const manifest = new URL("../../../../package.json", import.meta.url);

/** The diff of the whole turn is sent again at every change; git tells the same. */
const unwantedNotifications = ["turn/diff/updated"];

const temporaryHome =
  "under the temporary folder codex does not put its helpers, and every sandboxed command fails";

export interface OpenThread {
  readonly threadId: string;
  readonly resumed: boolean;
}

export interface OpenOptions {
  readonly peer: JsonRpcPeer;
  readonly spec: SessionSpec;
  readonly config: CodexConfig;
  readonly home: CodexHome | null;
  probedOnce(key: string, probe: () => Promise<void>): Promise<void>;
  onNotice(reason: string): void;
}

/**
 * Says hello and opens the thread: resumed if wanted and possible, else a new one. `onNotice` hears
 * what an operator should know, such as why a resume was refused.
 */
export async function openThread(options: OpenOptions): Promise<OpenThread> {
  const { peer, spec, onNotice } = options;
  const hello = await peer.request("initialize", {
    clientInfo: { name: "symphony", title: "Symphony", version: ownVersion() },
    capabilities: {
      experimentalApi: true,
      requestAttestation: false,
      optOutNotificationMethods: unwantedNotifications,
    },
  });
  peer.notify("initialized");
  const codexHome = textOf(objectOf(hello)["codexHome"]);
  if (codexHome !== null && isTemporary(codexHome)) {
    onNotice(`CODEX_HOME is ${codexHome}: ${temporaryHome}`);
  }
  const params = await permittedParams(options, codexHome);
  const resumed = await resume(options, params);
  if (resumed !== null) return { threadId: resumed, resumed: true };
  const started = await peer.request("thread/start", {
    ...params,
    dynamicTools: spec.tools.specs.map(dynamicTool),
  });
  const threadId = idIn(started, "thread");
  nameThread(peer, threadId, spec.title);
  return { threadId, resumed: false };
}

/** The parameters of `turn/start`. A null sandbox policy is not sent, so the thread's own holds. */
export function turnParams(
  turn: TurnOptions & { threadId: string; messageId: string; prompt: string },
  spec: SessionSpec,
  config: CodexConfig,
): JsonObject {
  return {
    threadId: turn.threadId,
    clientUserMessageId: turn.messageId,
    input: textInput(turn.prompt),
    cwd: spec.workspace,
    approvalPolicy: config.approvalPolicy,
    ...(config.turnSandboxPolicy === null ? {} : { sandboxPolicy: config.turnSandboxPolicy }),
    ...(turn.model === null ? {} : { model: turn.model }),
    ...(turn.effort == null ? {} : { effort: turn.effort }),
  };
}

export function textInput(text: string): JsonObject[] {
  return [{ type: "text", text, text_elements: [] }];
}

/** `result.thread.id` and the like; a missing id is a `response_error`. */
export function idIn(result: unknown, name: "thread" | "turn"): string {
  const id = textOf(objectOf(objectOf(result)[name])["id"]);
  if (id !== null && id !== "") return id;
  throw new SymphonyError("response_error", `${name}/start: the answer holds no ${name} id`);
}

async function resume(
  { peer, spec, onNotice }: OpenOptions,
  threadParams: JsonObject,
): Promise<string | null> {
  if (spec.resumeThreadId === null) return null;
  const params = { threadId: spec.resumeThreadId, excludeTurns: true };
  try {
    return idIn(await peer.request("thread/resume", { ...params, ...threadParams }), "thread");
  } catch (error) {
    if (!(error instanceof SymphonyError) || error.code !== "response_error") throw error;
    onNotice(`the thread could not be resumed, a new one is started: ${error.message}`);
    return null;
  }
}

function isTemporary(path: string): boolean {
  return [tmpdir(), "/tmp"].some((root) => path.startsWith(root + sep));
}

/** What a thread is started and resumed with, once the sandbox it names has been seen to hold. */
async function permittedParams(
  { peer, spec, config, home, probedOnce, onNotice }: OpenOptions,
  codexHome: string | null,
): Promise<JsonObject> {
  const permit = await permitOf({ spec, config, home, codexHome });
  if (permit.type === "profile") {
    const probe = { peer, home: permit.home, workspace: spec.workspace, profile: permit.name };
    await probedOnce(`${permit.home.fingerprint} ${permit.name}`, () =>
      probeSandbox({ ...probe, network: spec.level === "networked" }),
    );
  } else if (permit.warning !== null) {
    if (permit.chosen) onNotice(permit.warning);
    else spec.onLog(permit.warning);
  }
  return {
    cwd: spec.workspace,
    approvalPolicy: config.approvalPolicy,
    ...(spec.model === null ? {} : { model: spec.model }),
    ...permitParams(permit, spec, config),
  };
}

function dynamicTool(tool: ToolSpec): JsonObject {
  const { name, description, inputSchema } = tool;
  return { type: "function", name, description, inputSchema };
}

/** For people who look at the thread with other tools; nothing depends on it. */
function nameThread(peer: JsonRpcPeer, threadId: string, name: string): void {
  peer.request("thread/name/set", { threadId, name }).catch(() => {});
}

function ownVersion(): string {
  return textOf(objectOf(JSON.parse(readFileSync(manifest, "utf8")))["version"]) ?? "unknown";
}
