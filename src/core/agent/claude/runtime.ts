import { randomUUID } from "node:crypto";
import type { Clock } from "../../clock.ts";
import { probeSandbox, type Shown } from "../../process/sandbox.ts";
import { type AgentRuntime, openOrClose, type SessionSpec } from "../agent.ts";
import { type Confinement, noNetwork, programConfinement } from "../confinement.ts";
import { noticeEvent } from "../event-makers.ts";
import { credentialOf } from "./credential.ts";
import { type ClaudeHome, ClaudeHomes, transcriptOf } from "./home.ts";
import { launchOf } from "./launch.ts";
import { repositoryNotes } from "./notes.ts";
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
  const check = async (level: SessionSpec["level"]) => {
    const config = options.config();
    if (level === "safe") throw noNetwork("claude");
    const credential = await credentialOf(config, { env, lookup, wall: () => clock.wall() });
    if (credential !== null) options.hide(credential.value);
    if (level !== "danger") await probeSandbox(level, env);
    return { config, credential };
  };
  return {
    kind: "claude",
    async check(level) {
      await check(level);
    },
    async start(spec, signal) {
      signal.throwIfAborted();
      const { config, credential } = await check(spec.level);
      const home = await homes.prepare(spec.workspace, clock.wall());
      const seen = await programConfinement("claude", config, {
        spec,
        lines: [config.command],
        env,
        dataDir,
        workspaceRoot: options.workspaceRoot(),
      });
      const confinement = seen && withHome(seen, home);
      const thread = await threadOf(spec, home);
      const launch = await launchOf({
        ...{ spec, config, env, credential, confinement, thread },
        configDir: home.config,
      });
      const preface = thread.resumes ? "" : await repositoryNotes(spec.workspace);
      signal.throwIfAborted();
      const session = new ClaudeSession({ spec, config, clock, home, launch, thread, preface });
      return openOrClose(session, signal);
    },
  };
}

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
