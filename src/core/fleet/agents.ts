import { createHash } from "node:crypto";
import { z } from "zod";
import type { AgentRuntime } from "../agent/agent.ts";
import type { AgentKind } from "../agent/kinds.ts";
import { startProblems } from "../agent/startable.ts";
import { type Clock, limited } from "../clock.ts";
import { messageOf, SymphonyError } from "../model/errors.ts";
import { startFaults } from "../model/gates.ts";
import type { WorkerAgent } from "../model/worker.ts";
import { readLoginsAgain } from "../process/login.ts";
import { oneLine, parseJson } from "../text/text.ts";
import { seal, unseal } from "./sealing.ts";

// What a worker can run: the agents that the server names, checked with the programs, logins and keys of its own machine.

/** An agent of the server's configuration; `$NAME` in its settings is unresolved. */
const Wanted = z.object({
  agent: z.string(),
  kind: z.string(),
  /** The dotted keys of its settings and of its command line. */
  key: z.string(),
  commandKey: z.string(),
  settings: z.record(z.string(), z.unknown()),
  level: z.enum(["safe", "networked", "danger"]),
  network: z.array(z.string()).nullable(),
});
export type WantedAgent = Readonly<z.output<typeof Wanted>>;

const List = z.object({ ask: z.number(), agents: z.array(Wanted) });

/** The part of a worker's presence that says what it can run. */
export const Found = z.object({
  /** The list that this answers; empty: none was read. */
  list: z.string(),
  agents: z.array(z.object({ agent: z.string(), trouble: z.string().max(1_000).nullable() })),
});
export type Found = z.output<typeof Found>;

/** The list for one worker, and what a worker names it by; another `ask` has it check everything again. */
export function listFor(agents: readonly WantedAgent[], ask: number) {
  const text = JSON.stringify({ ask, agents });
  return { text, name: createHash("sha256").update(text).digest("hex").slice(0, 16) };
}

export function sealList(key: Buffer, worker: string, text: string): Buffer {
  return seal(key, `agents|${worker}`, Buffer.from(text));
}

const answerMs = 10_000;
const lookSoonMs = 15_000;
const lookAgainMs = 1_800_000;
const firstHoldMs = 300_000;
const longestHoldMs = 3_600_000;
const maxRuntimes = 20;
const troubleChars = 600;

export interface WorkerAgentsDeps {
  readonly kinds: readonly AgentKind[];
  readonly clock: Clock;
  readonly env: NodeJS.ProcessEnv;
  /** The worker's own directory, which agents never read. */
  readonly dir: string;
  readonly workspaceRoot: string;
  readonly worker: string;
  readonly key: Buffer;
  hide(value: string): void;
  log(message: string, fields?: Readonly<Record<string, unknown>>): void;
  /** What it can run has changed. */
  changed(): void;
}

interface Held {
  readonly since: number;
  readonly hits: number;
  readonly until: number;
  readonly trouble: string;
}

/** The agents of one worker: their runtimes, which live as long as it, and whether each can be started. */
export class WorkerAgents {
  readonly #deps: WorkerAgentsDeps;
  readonly #runtimes = new Map<string, Promise<AgentRuntime>>();
  readonly #found = new Map<string, string | null>();
  /** Agents whose start failed although their check does not. */
  readonly #held = new Map<string, Held>();
  #wanted: readonly WantedAgent[] = [];
  #list = "";
  #cancel = () => {};

  constructor(deps: WorkerAgentsDeps) {
    this.#deps = deps;
  }

  /** A list was read. */
  get isAsked(): boolean {
    return this.#list !== "";
  }

  get found(): Found {
    const now = this.#deps.clock.now();
    const agents = [...this.#found].map(([agent, trouble]): WorkerAgent => {
      const held = this.#held.get(agent);
      return { agent, trouble: held && held.until > now ? held.trouble : trouble };
    });
    return { list: this.#list, agents };
  }

  /** What the engine has for this worker; a list that is new is checked in its own time. */
  asked(sealed: Buffer | null): void {
    const text =
      sealed && unseal(this.#deps.key, `agents|${this.#deps.worker}`, sealed)?.toString();
    const { success, data } = List.safeParse(parseJson(text || ""));
    if (!text || !success) return;
    const { name } = listFor(data.agents, data.ask);
    if (name === this.#list) return;
    this.#list = name;
    this.#wanted = data.agents;
    this.#held.clear();
    const names = new Set(data.agents.map(({ agent }) => agent));
    for (const agent of this.#found.keys()) if (!names.has(agent)) this.#found.delete(agent);
    void this.#lookAnew(name);
  }

  /** Rejects with `agent_unavailable` for a kind that this version does not know. */
  runtime(kind: string, settings: object): Promise<AgentRuntime> {
    const key = `${kind} ${JSON.stringify(settings)}`;
    const made = this.#runtimes.get(key) ?? this.#make(kind, settings);
    // The last of the map is the latest that was used.
    this.#runtimes.delete(key);
    this.#runtimes.set(key, made);
    for (const [oldest] of this.#runtimes) {
      if (this.#runtimes.size <= maxRuntimes) break;
      this.#runtimes.delete(oldest);
    }
    made.catch(() => this.#runtimes.delete(key));
    return made;
  }

  /** Something that began at `from` (monotonic ms) went well: what failed since then counts on. */
  started(agent: string, from: number): void {
    const held = this.#held.get(agent);
    if (held === undefined || held.since >= from) return;
    this.#held.delete(agent);
    this.#deps.changed();
  }

  /** An agent was not started, or its login was refused: nothing more is started with it here for a while. */
  failed(agent: string, error: unknown): void {
    if (!(error instanceof SymphonyError)) return;
    if (!startFaults.has(error.code) && error.code !== "provider_refused") return;
    const { clock, log, changed } = this.#deps;
    const hits = (this.#held.get(agent)?.hits ?? 0) + 1;
    const holdMs = Math.min(firstHoldMs * 2 ** (hits - 1), longestHoldMs);
    const next = new Date(clock.wall() + holdMs).toISOString();
    const trouble = `${oneLine(error.message, troubleChars)}, tried again at ${next}`;
    const since = clock.now();
    this.#held.set(agent, { since, hits, until: since + holdMs, trouble });
    this.#found.set(agent, this.#found.get(agent) ?? null);
    log("an agent cannot be started here", { agent, reason: trouble });
    changed();
  }

  close(): void {
    this.#list = "";
    this.#cancel();
  }

  async #lookAnew(list: string): Promise<void> {
    await limited(readLoginsAgain(), answerMs, () => {}, this.#deps.clock);
    await this.#look(list);
  }

  async #look(list: string): Promise<void> {
    if (list !== this.#list) return;
    this.#cancel();
    const { clock, log, changed } = this.#deps;
    const wanted = this.#wanted;
    await Promise.all(
      wanted.map(async (one) => {
        const trouble = await limited(this.#trouble(one), answerMs, () => null, clock);
        if (list !== this.#list || this.#found.get(one.agent) === trouble) return;
        this.#found.set(one.agent, trouble);
        if (trouble === null) log("an agent can be started here", { agent: one.agent });
        else log("an agent cannot be started here", { agent: one.agent, reason: trouble });
        changed();
      }),
    );
    if (list !== this.#list) return;
    const isWell = wanted.every(({ agent }) => this.#found.get(agent) === null);
    this.#cancel = clock.after(isWell ? lookAgainMs : lookSoonMs, () => void this.#look(list));
  }

  /** Why the agent cannot be started on this machine; null: nothing is in the way. Never rejects. */
  async #trouble({ key, commandKey, settings, ...one }: WantedAgent): Promise<string | null> {
    try {
      const { kind, level, network } = one;
      const line = this.#row(kind).command(settings);
      const problems = await startProblems(
        {
          ...{ kind, key: commandKey, settingsKey: key, line, level, network },
          runtime: () => this.runtime(kind, settings),
        },
        this.#deps,
      );
      const fault = problems.find(({ severity = "error" }) => severity === "error");
      if (fault === undefined) return null;
      return oneLine(fault.next ? `${fault.message}; ${fault.next}` : fault.message, troubleChars);
    } catch (error) {
      return oneLine(messageOf(error), troubleChars);
    }
  }

  #row(kind: string): AgentKind {
    const row = this.#deps.kinds.find((one) => one.kind === kind);
    if (row) return row;
    throw new SymphonyError(
      "agent_unavailable",
      `this worker does not know agents of kind ${kind}`,
      {
        hint: "install the version of the server on this worker",
      },
    );
  }

  async #make(kind: string, settings: object): Promise<AgentRuntime> {
    const { clock, env, dir, workspaceRoot, hide, log } = this.#deps;
    return this.#row(kind).create({
      ...{ clock, env, dataDir: dir, hide },
      settings: () => settings,
      workspaceRoot: () => workspaceRoot,
      lookup: (name) => env[name],
      hosts: () => null,
      onTrouble: (message) => log(message),
    });
  }
}
