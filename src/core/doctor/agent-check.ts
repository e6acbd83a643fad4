import { mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { OutlivingHosts, SessionSpec } from "../agent/agent.ts";
import { agentsIn } from "../agent/guard/program.ts";
import { knownPrograms, loginOf } from "../agent/installed.ts";
import { type AgentKind, AgentRuntimes, rowOf } from "../agent/kinds.ts";
import { systemClock } from "../clock.ts";
import type { Checked } from "../config/check.ts";
import { agentsInUse, settingsOf } from "../config/config.ts";
import { kinds } from "../kinds.ts";
import { agentProblems, modelNames } from "../machine-checks.ts";
import { type ErrorCode, messageOf, SymphonyError } from "../model/errors.ts";
import { boundsOf } from "../process/bounds.ts";
import { partOf, runIdOf } from "../process/table.ts";
import { inTime } from "./in-time.ts";
import type { Project } from "./project.ts";
import { type Answer, fail, notAsked, ok, warn, worst } from "./result.ts";

export interface AgentAsking {
  readonly project: Project;
  readonly checked: Checked;
  readonly version: string;
  /** Names of variables that no agent may see. */
  readonly hidden: readonly string[];
  /** Whether a turn is run, which costs a few tokens. */
  readonly smoke: boolean;
  /** Why there can be no turn; null: there can. */
  readonly noTurn: string | null;
  /** What the check of the sandbox found: the agent's own check repeats it. */
  readonly sandbox: Answer;
}

/** An agent of the configuration, by its name, with the row of its kind. */
interface Named {
  readonly agent: string;
  readonly row: AgentKind;
}

/** Every agent that the configuration starts: its program, its settings, its answer, its login, its models. */
export async function checkAgents(asking: AgentAsking): Promise<Answer> {
  const { config } = asking.checked.effective;
  const named = agentsInUse(config).flatMap((agent): readonly Named[] => {
    const row = rowOf(kinds.agents, config, agent);
    return row === null ? [] : [{ agent, row }];
  });
  return worst(await Promise.all(named.map((one) => checkAgent(one, asking))));
}

async function checkAgent(one: Named, asking: AgentAsking): Promise<Answer> {
  const { agent, row } = one;
  const { project, checked, sandbox, version, hidden } = asking;
  const { config } = checked.effective;
  const tracker = { secretEnvNames: hidden };
  const deps = { kinds: kinds.agents, clock: systemClock, version, tracker, ...machineOf(project) };
  const problems = await agentProblems(agent, config, deps);
  const [first] = problems.filter(({ message }) => message !== sandbox.message);
  if (first !== undefined) {
    return fail(first.code ?? "agent_unavailable", first.message, first.next ?? null);
  }
  if (problems.length > 0) return notAsked(`${agent} needs the sandbox, which does not work`);
  try {
    const said =
      row.models === null ? await openAndClose(one, asking) : await askForModels(one, asking);
    const login = await loginAnswer(one, asking);
    if (login !== null) return login;
    const [unknown] = await modelNames(deps, () => hidden).problems(agent, config);
    if (unknown) return warn(unknown.message, unknown.next ?? "symphony models");
    return asking.smoke ? await smokeTurn(one, asking) : ok(said);
  } catch (error) {
    return agentFailure(error, await loginHint(one, asking));
  }
}

function machineOf({ env, dataDir, lookup, redactor }: Project) {
  return { env, dataDir, lookup, hide: (value: string) => redactor.add(value) };
}

const handshakeMs = 60_000;

/** The list of models is an answer of the agent, or of its provider; it costs nothing. */
async function askForModels({ agent, row }: Named, asking: AgentAsking): Promise<string> {
  const leaving = new AbortController();
  const settings = settingsOf(asking.checked.effective.config, agent);
  const asked = row.models?.list(settings, modelsDeps(asking), leaving.signal);
  try {
    const models = await inTime(asked ?? Promise.resolve([]), handshakeMs, agent);
    return `${agent} answers, with ${models.length} model${models.length === 1 ? "" : "s"}`;
  } catch (error) {
    leaving.abort();
    // A provider without such a list may work all the same.
    if (!isUnlisted(error)) throw error;
    return `${agent}: the provider answers, and has no list of models`;
  }
}

function isUnlisted(error: unknown): boolean {
  if (!(error instanceof SymphonyError)) return false;
  const { category, status } = error.details;
  return (
    category === "unsupported" || (category === "status" && (status === 404 || status === 405))
  );
}

/** The code that an attempt would end with. */
function agentFailure(error: unknown, hint: string | null): Answer {
  if (!(error instanceof SymphonyError)) throw error;
  const { agentError, category } = error.details;
  const inner = typeof agentError === "string" ? (agentError as ErrorCode) : null;
  const isRefused = category === "unauthorized" || category === "missing_key";
  const code = inner ?? (isRefused ? "provider_refused" : error.code);
  return fail(code, messageOf(error), error.hint ?? hint);
}

/** What a known program of an `acp` agent may lack: its login, and the files that its first run leaves. */
async function loginHint({ agent, row }: Named, { project, checked }: AgentAsking) {
  const settings: { readonly command?: unknown } = settingsOf(checked.effective.config, agent);
  if (row.kind !== "acp" || typeof settings.command !== "string") return null;
  const programs = agentsIn(settings.command);
  const known = knownPrograms.find(({ name }) => programs.has(name));
  if (known === undefined) return null;
  const login = await loginOf(known, project.env, (name) => Boolean(project.lookup(name)));
  const start = `start ${known.name} once in a terminal: it makes files that it cannot make in the sandbox`;
  return login === null ? `${known.login}; then ${start}` : start;
}

/** codex only says at its first turn that it has no login. */
async function loginAnswer({ agent, row }: Named, asking: AgentAsking): Promise<Answer | null> {
  const { project, checked } = asking;
  const known = knownPrograms.find(({ name }) => name === row.kind);
  if (row.kind !== "codex" || known === undefined) return null;
  const settings = settingsOf(checked.effective.config, agent);
  const own = await row.models?.own?.(settings, modelsDeps(asking));
  if (own?.isOther || (own?.baseUrl ?? null) !== null) return null;
  const login = await loginOf(known, project.env, (name) => Boolean(project.lookup(name)));
  if (login !== null) return null;
  if (!own?.usesKeyring) return warn(`${agent} answers, but has no login`, known.login);
  const unseen = `${agent} answers; its login may be in a keyring, which cannot be seen from here: symphony doctor --smoke asks by a turn`;
  return asking.smoke ? null : notAsked(unseen);
}

function modelsDeps({ project, version, hidden }: AgentAsking) {
  const { env, dataDir, lookup } = project;
  const runId = runIdOf(dataDir, "doctor");
  return { clock: systemClock, version, env, lookup, runId, secretEnvNames: () => hidden };
}

const noTools: SessionSpec["tools"] = {
  specs: [],
  call: async () => ({ success: false, output: "there are no tools" }),
};

/** Starts a session in an empty directory and ends it: the handshake of an attempt, without a turn. */
async function openAndClose(one: Named, asking: AgentAsking): Promise<string> {
  await withSession(one, asking, async () => {});
  return one.row.kind === "command"
    ? "command: the program is there; it has no handshake, and --smoke runs it"
    : `${one.agent} answers and opens a session`;
}

/** One turn of a few tokens. */
async function smokeTurn(one: Named, asking: AgentAsking): Promise<Answer> {
  if (asking.noTurn !== null) return notAsked(asking.noTurn);
  const { config } = asking.checked.effective;
  const { tokens } = await withSession(one, asking, async (session) => {
    await session.turn("Answer with the one word OK. Change nothing.", { model: null });
  });
  const spent = tokens === null ? "" : `, ${tokens} tokens`;
  return ok(`${one.agent} ran a turn at agent.level ${config.agent.level}${spent}`);
}

type Session = Awaited<ReturnType<Awaited<ReturnType<AgentKind["create"]>>["start"]>>;

async function withSession(
  { agent, row }: Named,
  { project, checked, hidden }: AgentAsking,
  work: (session: Session) => Promise<void>,
): Promise<{ readonly tokens: number | null }> {
  const { dataDir } = project;
  const { config } = checked.effective;
  const hosts = new Map<string, OutlivingHosts>();
  const deps = { clock: systemClock, onTrouble: () => {} };
  if (row.outliving) hosts.set(row.kind, await row.outliving.open({ ...deps, dataDir }));
  const runtimes = new AgentRuntimes({
    ...{ ...deps, ...machineOf(project), kinds: kinds.agents, hosts },
    config: () => config,
  });
  const workspace = await realpath(await mkdtemp(join(tmpdir(), "symphony-doctor-")));
  const leaving = new AbortController();
  let tokens: number | null = null;
  const spec: SessionSpec = {
    workspace,
    title: "symphony doctor",
    // Other checks run at the same time.
    runId: partOf(runIdOf(dataDir, "doctor"), "agent"),
    ...{ model: null, resumeThreadId: null, tools: noTools, secretEnvNames: hidden },
    askPolicy: { approvals: config.agent.approvals, timeoutMs: 0 },
    ...{ level: config.agent.level, network: config.agent.network },
    readable: config.agent.readable,
    bounds: boundsOf(config.agent),
    onEvent(event) {
      if (event.type === "tokens") tokens = event.total.total;
    },
    onLog() {},
  };
  try {
    const run = async () => {
      const runtime = await runtimes.get(agent);
      await using session = await runtime.start(spec, leaving.signal);
      await work(session);
    };
    await inTime(run(), handshakeMs, agent);
    return { tokens };
  } finally {
    leaving.abort();
    await rm(workspace, { recursive: true, force: true });
    for (const host of hosts.values()) await host.close();
  }
}
