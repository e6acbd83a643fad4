import { type Clock, limited } from "./clock.ts";
import { agentsInUse, type Config } from "./config/config.ts";
import type { Problem } from "./config/finding.ts";
import type { CoreDeps, CoreOptions } from "./core.ts";
import type { Logger } from "./events/log.ts";
import { agentProblems, type MachineDeps } from "./machine-checks.ts";
import { messageOf } from "./model/errors.ts";
import type { AgentTrouble } from "./model/gates.ts";
import { loginEnvironment, loginFault, readLoginsAgain } from "./process/login.ts";

/** While an agent cannot be started: it only costs a look at files and variables. */
const lookSoonMs = 15_000;
/** Otherwise; each attempt looks for its own agent as well. */
const lookAgainMs = 1_800_000;
/** After this time there is no verdict, and no other agent waits for it. */
const answerMs = 10_000;

type CheckDeps = Omit<MachineDeps, "tracker">;

/**
 * Why nothing can be started with an agent, as far as this is known without starting it; null: nothing is in the way, or it
 * could not be found out in time, and `late` was called.
 */
async function agentTrouble(
  agent: string,
  config: Config,
  { late = () => {}, ...deps }: CheckDeps & { late?(): void },
): Promise<AgentTrouble | null> {
  const { clock } = deps;
  const asked = agentProblems(agent, config, { ...deps, tracker: {} });
  const tooLate = (): readonly Problem[] => {
    late();
    return [];
  };
  const problems = await limited(asked, answerMs, tooLate, clock);
  const fault = problems.find(({ severity = "error" }) => severity === "error");
  return fault === undefined ? null : troubleOf(fault, clock.wall());
}

/** The same of every agent that the configuration starts, by name. */
export async function agentTroubles(
  config: Config,
  deps: CheckDeps,
): Promise<ReadonlyMap<string, AgentTrouble>> {
  // On workers an agent uses their programs and keys, which this machine does not know.
  if (config.fleet.url !== null || config.worker.sshHosts.length > 0) return new Map();
  const found = agentsInUse(config).map(async (agent) => {
    const trouble = await agentTrouble(agent, config, deps);
    return trouble === null ? [] : [[agent, trouble] as const];
  });
  return new Map((await Promise.all(found)).flat());
}

function troubleOf({ code, message, next }: Problem, sinceWall: number): AgentTrouble {
  return {
    code: code ?? "agent_unavailable",
    detail: next ? `${message}; ${next}` : message,
    sinceWall,
  };
}

export interface AgentChecksDeps extends CheckDeps {
  readonly clock: Clock;
  readonly log: Logger;
  config(): Config;
  /** Attempts run on workers, which check their own agents: has them do it again. Default: null, they run here. */
  onWorkers?(): (() => void) | null;
  /** Agents that operators chose for single issues. */
  chosen(): readonly string[];
  /** Agents that are known to be in trouble. */
  troubled(): readonly string[];
  found(agent: string, trouble: AgentTrouble | null): void;
}

/**
 * Checks whether the agents can be started: at the start, when something that it depends on has changed, and by itself, so
 * that a mended agent comes back. Each answer is reported when it comes.
 */
export class AgentChecks {
  readonly #deps: AgentChecksDeps;
  #cancel = () => {};
  #isStopped = false;
  #looking: Promise<void> | null = null;
  #again = false;
  #loginFault: string | null = null;
  readonly #seen = new Set<string>();

  constructor(deps: AgentChecksDeps) {
    this.#deps = deps;
  }

  /** Resolves when every agent has been checked as it is now. Never rejects. */
  look(): Promise<void> {
    if (this.#isStopped) return Promise.resolve();
    this.#again = this.#looking !== null;
    this.#looking ??= this.#lookAll().finally(() => {
      this.#looking = null;
    });
    return this.#looking;
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancel();
  }

  async #lookAll(): Promise<void> {
    do {
      this.#again = false;
      this.#cancel();
      const { config, chosen, troubled } = this.#deps;
      const used = new Set([...agentsInUse(config()), ...chosen()]);
      const gone = troubled().filter((agent) => !used.has(agent));
      for (const agent of gone) this.#deps.found(agent, null);
      const elsewhere = this.#deps.onWorkers?.() ?? null;
      if (elsewhere !== null) return elsewhere();
      void this.#askLogin();
      const found = await Promise.all([...used].map((agent) => this.#check(agent)));
      if (this.#isStopped) return;
      const wait = found.includes(true) ? lookSoonMs : lookAgainMs;
      this.#cancel = this.#deps.clock.after(wait, () => void this.look());
    } while (this.#again);
  }

  /** Says once that programs are searched without the PATH of the user's shell. Never rejects. */
  async #askLogin(): Promise<void> {
    const { env, log } = this.#deps;
    await loginEnvironment(env);
    const reason = loginFault(env);
    if (reason !== null && this.#loginFault === null) {
      log.warn("the login shell did not answer; it is asked again when something starts", {
        reason,
      });
    }
    this.#loginFault = reason;
  }

  /** True for an agent that cannot be started. */
  async #check(agent: string): Promise<boolean> {
    const { config, log, found } = this.#deps;
    try {
      let isKnown = true;
      const late = () => {
        isKnown = false;
      };
      const trouble = await agentTrouble(agent, config(), { ...this.#deps, late });
      if (!this.#isStopped) found(agent, trouble);
      // Later changes have their events.
      if (isKnown && trouble === null && !this.#seen.has(agent)) {
        log.info(`${agent} can be started`);
      }
      if (isKnown) this.#seen.add(agent);
      return trouble !== null;
    } catch (error) {
      log.error("an agent was not checked", { agent, reason: messageOf(error) });
      return false;
    }
  }
}

/** How long the first poll waits for the answers: later ones close the gate when they come. */
const startMs = 5_000;

/** The checks of a running server, which follow everything that may change their answers. Call `begin` before the first poll. */
export function openAgentChecks(
  { clock, log, env, dataDir, version, redactor }: CoreOptions,
  deps: CoreDeps,
  lookup: (name: string) => string | undefined,
) {
  const { config, bus, orchestrator } = deps;
  const found = (agent: string, trouble: AgentTrouble | null) =>
    orchestrator().post({ type: "agent.checked", agent, trouble });
  const checks = new AgentChecks({
    ...{ clock, log, env, dataDir, version, lookup, kinds: deps.kinds.agents },
    hide: (value) => redactor.add(value),
    config: () => config.current.config,
    onWorkers() {
      const fleet = deps.fleet();
      if (fleet !== null) return () => fleet.checkAgents();
      if (config.current.config.worker.sshHosts.length === 0) return null;
      // What this machine lacks is nothing to the hosts.
      return () => {
        for (const agent of orchestrator().state.troubles.keys()) found(agent, null);
      };
    },
    chosen: () =>
      [...orchestrator().state.issues.values()].flatMap(({ choices }) => choices.pick?.agent ?? []),
    troubled: () => [...orchestrator().state.troubles.keys()],
    found,
  });
  // A changed profile counts from the next refresh or reload on.
  const again = async () => {
    await limited(readLoginsAgain(), answerMs, () => {}, clock);
    return checks.look();
  };
  const look = () => void checks.look();
  const types = ["secret.changed", "provider.paused", "model.changed"] as const;
  const ends = [bus.subscribe({ filter: { types } }, look), config.watch(() => void again())];
  return {
    look: again,
    async begin(): Promise<void> {
      await limited(checks.look(), startMs, () => {}, clock);
    },
    close(): void {
      checks.stop();
      for (const end of ends) end();
    },
  };
}
