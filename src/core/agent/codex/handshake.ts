import { once } from "node:events";
import { lstat, rm } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join, sep } from "node:path";
import { messageOf, SymphonyError } from "../../model/errors.ts";
import { version } from "../../package.ts";
import { runCookie } from "../../process/environment.ts";
import { aboveGuarded, guardedIn } from "../../process/guarded.ts";
import { displayText, type JsonObject, objectOf, textOf } from "../../text/text.ts";
import type { SessionSpec, ToolSpec, TurnOptions } from "../agent.ts";
import { type AgentImage, dataUrl } from "../images.ts";
import type { JsonRpcPeer } from "../json-rpc.ts";
import type { CodexHome } from "./home.ts";
import { profileName } from "./profile.ts";
import type { CodexConfig } from "./settings.ts";

/** codex sends the diff of the whole turn again at every change; git gives the same information. Of raw events the usage is read. */
const unwantedNotifications = ["turn/diff/updated", "rawResponseItem/completed"];

const temporaryHome =
  "codex does not create its helper programs under the temporary folder, and every sandboxed command fails";

export interface OpenThread {
  readonly threadId: string;
  readonly resumed: boolean;
}

export interface OpenOptions {
  readonly peer: JsonRpcPeer;
  readonly spec: SessionSpec;
  readonly config: CodexConfig;
  readonly home: CodexHome | null;
  /** As `ConnectionOptions` has it. */
  readonly command?: string;
  /** What a mount around codex hides, except the workspace and what it borrows. */
  readonly hidden?: readonly string[];
  /** Of what the mount keeps, what no command may read: codex obeys whoever reaches its socket. */
  readonly denied?: readonly string[];
  probedOnce(key: string, probe: () => Promise<void>): Promise<void>;
  onNotice(reason: string): void;
}

/**
 * Initializes the connection and opens the thread: resumed if requested and possible, else a
 * new one. `onNotice` receives what an operator should know, such as why a resume was refused.
 */
export async function openThread(options: OpenOptions): Promise<OpenThread> {
  const { peer, spec, onNotice } = options;
  const hello = await peer.request("initialize", {
    clientInfo: { name: "symphony", title: "Symphony", version: version() },
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
    // For `rawResponse/completed`: the usage of a request while its commands run. A resumed thread has none.
    experimentalRawEvents: true,
  });
  const threadId = idIn(started, "thread");
  nameThread(peer, threadId, spec.title);
  return { threadId, resumed: false };
}

/**
 * The parameters of `turn/start`. A null sandbox policy is not sent, so that the thread's own
 * applies.
 */
export function turnParams(
  turn: TurnOptions & { threadId: string; messageId: string; prompt: string },
  spec: SessionSpec,
  config: CodexConfig,
): JsonObject {
  return {
    threadId: turn.threadId,
    clientUserMessageId: turn.messageId,
    input: inputOf(turn.prompt, turn.images),
    cwd: spec.workspace,
    approvalPolicy: config.approvalPolicy,
    ...(config.turnSandboxPolicy === null ? {} : { sandboxPolicy: config.turnSandboxPolicy }),
    ...(turn.model === null ? {} : { model: turn.model }),
    ...(turn.effort == null ? {} : { effort: turn.effort }),
  };
}

export function inputOf(text: string, images: readonly AgentImage[] = []): JsonObject[] {
  const shown = images.map((image) => ({ type: "image", url: dataUrl(image) }));
  return [{ type: "text", text, text_elements: [] }, ...shown];
}

/** `result.thread.id` and the like; a missing id is a `response_error`. */
export function idIn(result: unknown, name: "thread" | "turn"): string {
  const id = textOf(objectOf(objectOf(result)[name])["id"]);
  if (id !== null && id !== "") return id;
  throw new SymphonyError("response_error", `${name}/start: the answer contains no ${name} id`);
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

/**
 * The parameters with which a thread is started and resumed, after a probe of the sandbox that they
 * name.
 */
async function permittedParams(
  {
    peer,
    spec,
    config,
    home,
    command = config.command,
    hidden = [],
    denied = [],
    probedOnce,
    onNotice,
  }: OpenOptions,
  codexHome: string | null,
): Promise<JsonObject> {
  const isConfined = command !== config.command && hidden.length === 0;
  const permit = await permitOf({ spec, config, home, codexHome, isConfined, hidden });
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
    ...(await permitParams(permit, spec, { config, hidden, denied })),
  };
}

function dynamicTool(tool: ToolSpec): JsonObject {
  const { name, description, inputSchema } = tool;
  return { type: "function", name, description, inputSchema };
}

/** For persons who inspect the thread with other tools; nothing depends on it. */
function nameThread(peer: JsonRpcPeer, threadId: string, name: string): void {
  peer.request("thread/name/set", { threadId, name }).catch(() => {});
}

/** The rules by which codex runs the commands of a thread. */
export type Permit =
  | { readonly type: "profile"; readonly name: string; readonly home: CodexHome }
  | {
      readonly type: "sandbox";
      /**
       * Which of symphony's own rules do not apply, for the operator; null when all apply as the
       * level says.
       */
      readonly warning: string | null;
      /** False when no setting of the operator caused this: then it is only logged. */
      readonly chosen: boolean;
    };

export interface PermitOptions {
  readonly spec: SessionSpec;
  readonly config: CodexConfig;
  readonly home: CodexHome | null;
  /** The CODEX_HOME that the program reports. */
  readonly codexHome: string | null;
  /** Our sandbox stands around the program. */
  readonly isConfined: boolean;
  /** What a mount around the program hides. */
  readonly hidden: readonly string[];
}

/** The sandbox of codex itself, which our profiles replace. */
export const defaultSandbox = "workspace-write";
const withoutOurs = "agents may read the data directory, the login of codex and other workspaces";
const withHidden =
  "agents may read what you may read, the login of codex too, except the data directory and other workspaces";
const inOurs =
  "only symphony's own sandbox stands around it: agents may read and write the login and threads of codex, and use the network";

/**
 * Our profile, unless the operator chose a sandbox or a home, or the program is not codex in our
 * home.
 */
async function permitOf(options: PermitOptions): Promise<Permit> {
  const { spec, config, home, codexHome } = options;
  if (spec.level === "danger") return sandbox(null);
  const open = options.hidden.length > 0 ? withHidden : withoutOurs;
  const consequence = options.isConfined ? inOurs : open;
  const own = ownSandbox(config);
  if (own !== null) return sandbox(`${own} replaces the permission profile: ${consequence}`);
  if (home === null) {
    const warning = `codex.home is inherit: ${consequence}`;
    return { type: "sandbox", warning, chosen: config.home === "inherit" };
  }
  if (codexHome === null) {
    const warning = `the agent's command is not codex: its sandbox was not probed, ${consequence}`;
    return { type: "sandbox", warning, chosen: false };
  }
  if (codexHome !== home.path) {
    return sandbox(`codex.command sets CODEX_HOME to ${codexHome}: ${consequence}`);
  }
  const git = config.allowGit && (await isRepository(spec.workspace));
  return { type: "profile", name: profileName(spec.level, git), home };
}

type Mount = Readonly<Record<"hidden" | "denied", readonly string[]>>;

/**
 * Sent with a thread, at its start and at every resume, because codex does not store the thread's
 * `config`.
 */
async function permitParams(
  permit: Permit,
  spec: SessionSpec,
  { config, ...mount }: { config: CodexConfig } & Mount,
): Promise<JsonObject> {
  const settings: Record<string, unknown> = {
    // A login shell for each command would read the profile, and what it exports, again.
    allow_login_shell: false,
    [`shell_environment_policy.set.${runCookie}`]: spec.runId,
  };
  // A repository's own files for codex may name programs, and those run outside of every codex
  // sandbox.
  if (spec.level !== "danger") {
    settings["projects"] = { [spec.workspace]: { trust_level: "untrusted" } };
  }
  if (permit.type === "profile") {
    if (spec.level === "safe") settings["web_search"] = "disabled";
    Object.assign(settings, await placeSettings(permit.name, spec, mount));
    return { permissions: permit.name, config: settings };
  }
  const usual = config.threadSandbox === defaultSandbox;
  if (spec.level === "networked" && usual) {
    settings["sandbox_workspace_write.network_access"] = true;
  }
  const everything = spec.level === "danger" && usual;
  return { sandbox: everything ? "danger-full-access" : config.threadSandbox, config: settings };
}

/**
 * Adds to the profile, for this thread only, what the workspace borrows: mirrors of other
 * repositories stay denied. Inside of the denied data directory codex shows only what is writable,
 * and then a readable part of that; so the directory around a mirror, which holds nothing else, is
 * writable. What is guarded in the workspace only because of its submodules is readable.
 */
async function placeSettings(
  profile: string,
  { borrowed = [], workspace }: SessionSpec,
  { hidden, denied }: Mount,
): Promise<JsonObject> {
  const guarded = await guardedIn(workspace, profile.endsWith("-git") ? [] : [".git"]);
  const inside = guarded.filter((path) => path !== join(workspace, ".git"));
  // In the mount what is borrowed is shown, and nothing around it could be written.
  const denies = hidden.length === 0 ? borrowed : [];
  const rules = [
    // A denial would also hide the workspace from an approved command.
    ...hidden.map((path) => [path, "read"]),
    ...denied.map((path) => [path, "deny"]),
    ...denies.flatMap((path) => [
      [dirname(path), "write"],
      [path, "read"],
    ]),
    ...aboveGuarded(workspace, inside).map((path) => [path, "write"]),
    ...inside.map((path) => [path, "read"]),
  ];
  if (rules.length === 0) return {};
  return { permissions: { [profile]: { filesystem: Object.fromEntries(rules) } } };
}

/** The name of the setting with which the operator chose a sandbox; null without one. */
function ownSandbox({ threadSandbox, turnSandboxPolicy, command }: CodexConfig): string | null {
  if (turnSandboxPolicy !== null) return "codex.turn_sandbox_policy";
  if (threadSandbox !== defaultSandbox) return "codex.thread_sandbox";
  const flag = /\bsandbox_(workspace_write|mode)\b|--sandbox\b|\bdefault_permissions\b/;
  return flag.test(command) ? "the sandbox that codex.command sets" : null;
}

function sandbox(warning: string | null): Permit {
  return { type: "sandbox", warning, chosen: true };
}

/**
 * If `.git` is anything else, such as the file of a worktree, a rule inside `.git` makes every
 * command fail.
 */
async function isRepository(workspace: string): Promise<boolean> {
  const is = async (name: string, kind: "isDirectory" | "isFile") =>
    (await lstat(join(workspace, ".git", name)).catch(() => null))?.[kind]() === true;
  return (
    (await is("", "isDirectory")) && (await is("hooks", "isDirectory")) && is("config", "isFile")
  );
}

/** Prints which forbidden actions it could do, except writing; nothing that it reads or writes is kept. */
const script = `echo ran
outside=$1; port=$2; shift 2
for path in "$@"; do
  if ls "$path/" >/dev/null 2>&1 || head -c 1 "$path" >/dev/null 2>&1; then echo "read $path"; fi
done
# Where nothing of the machine is shown, this makes a file that only the sandbox has.
(: >"$outside") 2>/dev/null
if [ -n "$port" ] && (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then echo "reach the network"; fi
exit 0`;

const limitMs = 20_000;
const hint =
  "allow user namespaces (docs/agents/codex.md), or isolate the server and use agent.level danger";

export interface ProbeOptions {
  readonly peer: JsonRpcPeer;
  readonly home: CodexHome;
  readonly workspace: string;
  readonly profile: string;
  /** Whether commands may reach the network. */
  readonly network: boolean;
}

/**
 * Tests the sandbox with a command of our own. Rejects with `agent_unavailable` when the sandbox
 * does not restrict the command, or does not work.
 */
async function probeSandbox(options: ProbeOptions): Promise<void> {
  const { home, network } = options;
  const listener = createServer((socket) => socket.destroy());
  try {
    listener.listen(0, "127.0.0.1");
    await once(listener, "listening");
    const { port } = listener.address() as AddressInfo;
    const [ran, ...read] = await output(options, network ? "" : String(port));
    const wrote = (await lstat(home.outside).catch(() => null)) !== null;
    const done = [...read, ...(wrote ? [`write ${home.outside}`] : [])];
    if (ran !== "ran") throw probeFailed("the sandbox of codex does not run commands here");
    if (done.length > 0) {
      const what = displayText(done.join(", "), 500);
      throw probeFailed(`the sandbox of codex does not hold, a command could ${what}`);
    }
  } finally {
    listener.close();
    await rm(home.outside, { force: true });
  }
}

async function output(options: ProbeOptions, port: string): Promise<string[]> {
  const { peer, home, workspace, profile } = options;
  const { exitCode, stdout, stderr } = objectOf(
    await peer
      .request("command/exec", {
        command: ["bash", "-c", script, "probe", home.outside, port, ...home.denied],
        cwd: workspace,
        permissionProfile: profile,
        timeoutMs: limitMs,
      })
      .catch((error: unknown) => {
        if (!(error instanceof SymphonyError) || error.code !== "response_error") throw error;
        throw probeFailed(`the sandbox of codex cannot be probed: ${messageOf(error)}`);
      }),
  );
  if (exitCode !== 0) {
    const why = displayText(textOf(stderr) ?? "", 500).trim();
    throw probeFailed(
      `the sandbox of codex does not run commands here: ${why || "no reason given"}`,
    );
  }
  return (textOf(stdout) ?? "").trim().split("\n");
}

function probeFailed(message: string): SymphonyError {
  return new SymphonyError("agent_unavailable", message, { hint });
}
