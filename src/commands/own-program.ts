import { messageOf } from "../core/model/errors.ts";
import type { CommandContext } from "./context.ts";
import { openProgram } from "./input.ts";
import { plainLine } from "./output.ts";

/** The person's own agents, as they start them: found on their PATH, with their own login. */
export const ownPrograms = ["codex", "claude"] as const;
export type OwnProgram = (typeof ownPrograms)[number];

/** What the program continues, and where. */
interface Workplace {
  readonly path: string;
  readonly thread_id: string | null;
  readonly agent_kind: string | null;
  readonly agent_home: string | null;
}

type Context = Pick<CommandContext, "env" | "note">;

/** codex drops the exceptions of the denials that it has in the home of the agents. */
const approvedAtHome =
  "A command that you approve in codex runs in your home and does not see the workspace: decline it, and run it in the shell of symphony attach";

interface Thread {
  readonly id: string;
  readonly home: string;
}

/** How a program is started, and what follows its end. */
interface Opening {
  readonly args: readonly string[];
  readonly env: Context["env"];
  after(): Promise<void>;
}

/**
 * Runs the person's own agent in the workspace until they leave it: on the thread of the agent if that was
 * this program, else in a new session, which a note says. Rejects with `usage` when it cannot be started.
 */
export async function openOwnProgram(
  program: OwnProgram,
  { path: cwd, thread_id: id, agent_kind: kind, agent_home: home }: Workplace,
  { env, note }: Context,
): Promise<void> {
  const anew = (why: string) => note(`${program} begins a new session: ${why}`);
  const thread = kind === program && id !== null && home !== null ? { id, home } : null;
  if (kind === null || id === null) anew("no agent has worked on the issue yet");
  else if (thread === null) anew(`the issue's agent was not ${program} but ${plainLine(kind)}`);
  if (program === "codex" && thread !== null) note(approvedAtHome);
  const opening =
    program === "codex" ? codexOpening(cwd, thread, env) : await claudeOpening(thread, env, anew);
  const { args, env: own, after } = opening;
  await openProgram({ file: program, args, cwd, env: own, hint: `install ${program}` });
  await after();
}

/**
 * codex continues a thread in the home that has it. Files for codex in the workspace, which the agent may have written,
 * are not obeyed: the programs that they name would run with the person's rights.
 */
function codexOpening(cwd: string, thread: Thread | null, env: Context["env"]): Opening {
  const untrusted = `projects={${JSON.stringify(cwd)}={trust_level="untrusted"}}`;
  const args = ["-c", untrusted];
  const after = async () => {};
  if (thread === null) return { args, env, after };
  return {
    args: ["resume", thread.id, ...args],
    env: { ...env, CODEX_HOME: thread.home },
    after,
  };
}

/**
 * The record of the session is copied to the person's own directory, and back at the end. The agent's directory is not
 * used itself: an agent may have written settings there, and a login in it could be read by the agent.
 */
async function claudeOpening(
  thread: Thread | null,
  env: Context["env"],
  anew: (why: string) => void,
): Promise<Opening> {
  // The settings of the workspace are not obeyed: an agent may have written them.
  const args = ["--setting-sources", "user"];
  if (thread === null) return { args, env, after: async () => {} };
  const { homedir } = process.getBuiltinModule("node:os");
  const { join } = process.getBuiltinModule("node:path");
  const mine = env["CLAUDE_CONFIG_DIR"] || join(env["HOME"] || homedir(), ".claude");
  const { borrowSession } = await import("./claude-record.ts");
  try {
    const record = await borrowSession(thread, mine);
    if (record !== null) {
      return { args: [...args, "--resume", thread.id], env, after: record.giveBack };
    }
    anew("there is no record of the agent's session");
  } catch (cause) {
    anew(`the agent's session cannot be copied: ${messageOf(cause)}`);
  }
  return { args, env, after: async () => {} };
}
