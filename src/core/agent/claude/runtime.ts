import { randomUUID } from "node:crypto";
import type { Clock } from "../../clock.ts";
import { probeSandbox } from "../../process/sandbox.ts";
import type { Shown } from "../../process/view.ts";
import { type AgentRuntime, openOrClose, type SessionSpec } from "../agent.ts";
import { type Confinement, programConfinement } from "../confinement.ts";
import { noticeEvent } from "../event-makers.ts";
import { readableBy, readableCredentials } from "../readable.ts";
import { environmentOf } from "../stored-values.ts";
import { noProvider, openWayOut, requireWayOut } from "../way-out.ts";
import { credentialOf } from "./credential.ts";
import { type ClaudeHome, ClaudeHomes, transcriptOf } from "./home.ts";
import { launchOf } from "./launch.ts";
import { repositoryNotes } from "./notes.ts";
import { claudeProvider } from "./provider.ts";
import { ClaudeSession } from "./session.ts";
import type { ClaudeConfig } from "./settings.ts";

export interface ClaudeRuntimeOptions {
  /** Read at each start: a live session keeps the settings it was started with. */
  config(): ClaudeConfig;
  readonly clock: Clock;
  readonly env: NodeJS.ProcessEnv;
  /** The directory of all workspaces: a confined agent sees only its own. */
  workspaceRoot(): string;
  /** Hidden from a confined agent. */
  readonly dataDir: string;
  lookup(name: string): string | undefined;
  /** Registers a value that must never be shown. */
  hide(value: string): void;
}

/** Runs Claude Code; in the sandbox below level `danger`. */
export function createClaudeRuntime(options: ClaudeRuntimeOptions): AgentRuntime {
  const { clock, env, lookup, dataDir } = options;
  const homes = new ClaudeHomes({ env, dataDir });
  const check = async ({ level, network }: Pick<SessionSpec, "level" | "network">) => {
    const config = options.config();
    const deps = { env, lookup, wall: () => clock.wall() };
    const credential = await credentialOf(config, deps);
    if (credential !== null) options.hide(credential.value);
    const own = await environmentOf(config, options);
    const provider =
      level === "danger"
        ? null
        : claudeProvider(config, credential, { ...deps, own, hide: options.hide });
    if (level === "safe" && provider === null) throw noProvider("claude", providerHint);
    if (level !== "danger") await probeSandbox(level, env);
    await requireWayOut({ spec: { level, network }, provider, env });
    return { config, credential, provider, own };
  };
  return {
    kind: "claude",
    async check(level, network) {
      await check({ level, network });
    },
    async readable(level, network) {
      const { config: access, provider, own } = await check({ level, network });
      return readableBy(
        { kind: "claude", access, lines: [access.command], provider, level },
        { ...options, env: own },
      );
    },
    async start(spec, signal) {
      signal.throwIfAborted();
      const { config, credential, provider, own } = await check(spec);
      const home = await homes.prepare(spec.workspace, clock.wall());
      const seen = await programConfinement("claude", config, {
        spec,
        lines: [config.command],
        env,
        dataDir,
        workspaceRoot: options.workspaceRoot(),
      });
      const thread = await threadOf(spec, home);
      const preface = thread.resumes ? "" : await repositoryNotes(spec.workspace);
      signal.throwIfAborted();
      await using opened = new AsyncDisposableStack();
      const way = opened.use(
        await openWayOut({
          ...{ spec, provider, env, confinement: seen && withHome(seen, home) },
          passthrough: config.envPassthrough,
        }),
      );
      const launch = await launchOf({
        ...{ spec, config, env: own, way, thread },
        credential: provider === null ? credential : null,
        configDir: home.config,
      });
      signal.throwIfAborted();
      const kept = { passthrough: way.passthrough, env: own, confinement: seen };
      for (const notice of await readableCredentials(kept)) spec.onEvent(noticeEvent(notice));
      const session = new ClaudeSession({
        ...{ spec, config, clock, home, launch, thread, preface },
        way: opened.move(),
      });
      return openOrClose(session, signal);
    },
  };
}

const providerHint =
  "symphony secrets add ANTHROPIC_API_KEY, or CLAUDE_CODE_OAUTH_TOKEN with the token of: claude setup-token";

/** Continues the requested session if its record is there, else begins a new one. */
async function threadOf(spec: SessionSpec, home: ClaudeHome) {
  const { resumeThreadId: id } = spec;
  if (id !== null && uuid.test(id)) {
    if ((await transcriptOf(home, id)) !== null) return { id, resumes: true };
  }
  if (id !== null) {
    spec.onEvent(
      noticeEvent("the session cannot be resumed, a new one is started: it has no record"),
    );
  }
  return { id: randomUUID(), resumes: false };
}

const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** The agent writes its own directory, which may be inside one that is hidden. */
function withHome(confinement: Confinement, { config }: ClaudeHome): Confinement {
  const shown: Shown = { from: config, to: config, as: "writable" };
  return { ...confinement, shown: [...confinement.shown, shown] };
}
