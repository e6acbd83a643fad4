import { readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { sep } from "node:path";
import type { CodexConfig } from "../../config/config.ts";
import { SymphonyError } from "../../model/errors.ts";
import type { SessionSpec, ToolSpec, TurnOptions } from "../agent.ts";
import { runCookie } from "../environment.ts";
import type { JsonRpcPeer } from "../json-rpc.ts";
import { type JsonObject, objectOf, textOf } from "../json-value.ts";

const manifest = new URL("../../../../package.json", import.meta.url);

/** The diff of the whole turn is sent again at every change; git tells the same. */
const unwantedNotifications = ["turn/diff/updated"];

const temporaryHome =
  "under the temporary folder codex does not put its helpers, and every sandboxed command fails";

export interface OpenThread {
  readonly threadId: string;
  readonly resumed: boolean;
}

/**
 * Says hello and opens the thread: resumed if wanted and possible, else a new one. `onNotice` hears
 * what an operator should know, such as why a resume was refused.
 */
export async function openThread(
  peer: JsonRpcPeer,
  spec: SessionSpec,
  config: CodexConfig,
  onNotice: (reason: string) => void,
): Promise<OpenThread> {
  const hello = await peer.request("initialize", {
    clientInfo: { name: "symphony", title: "Symphony", version: ownVersion() },
    capabilities: {
      experimentalApi: true,
      requestAttestation: false,
      optOutNotificationMethods: unwantedNotifications,
    },
  });
  peer.notify("initialized");
  const home = textOf(objectOf(hello)["codexHome"]);
  if (home !== null && isTemporary(home)) onNotice(`CODEX_HOME is ${home}: ${temporaryHome}`);
  const resumed = await resume(peer, spec, config, onNotice);
  if (resumed !== null) return { threadId: resumed, resumed: true };
  const started = await peer.request("thread/start", {
    ...threadParams(spec, config),
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
  peer: JsonRpcPeer,
  spec: SessionSpec,
  config: CodexConfig,
  onNotice: (reason: string) => void,
): Promise<string | null> {
  if (spec.resumeThreadId === null) return null;
  const params = { threadId: spec.resumeThreadId, excludeTurns: true };
  try {
    return idIn(
      await peer.request("thread/resume", { ...params, ...threadParams(spec, config) }),
      "thread",
    );
  } catch (error) {
    if (!(error instanceof SymphonyError) || error.code !== "response_error") throw error;
    onNotice(`the thread could not be resumed, a new one is started: ${error.message}`);
    return null;
  }
}

function isTemporary(path: string): boolean {
  return [tmpdir(), "/tmp"].some((root) => path.startsWith(root + sep));
}

/** The same for a start and a resume: of a thread's `config` nothing is kept by codex. */
function threadParams(spec: SessionSpec, config: CodexConfig): JsonObject {
  return {
    cwd: spec.workspace,
    approvalPolicy: config.approvalPolicy,
    sandbox: config.threadSandbox,
    ...(spec.model === null ? {} : { model: spec.model }),
    config: {
      // A login shell for each command would read the profile, and what it exports, once more.
      allow_login_shell: false,
      [`shell_environment_policy.set.${runCookie}`]: spec.runId,
    },
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
