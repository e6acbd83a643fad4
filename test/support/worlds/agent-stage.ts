import type { AgentEvent, AgentSession, SessionSpec } from "../../../src/core/agent/agent.ts";
import { eventually } from "./symphony.ts";

/** Tokens of one request of an agent to its model. */
export interface Used {
  readonly input: number;
  readonly output: number;
}

/**
 * What the model of an agent answers to one request, the same for every kind of agent. A text ends
 * the turn.
 */
export type Act =
  | { readonly say: string; readonly used?: Used }
  /** Runs a command, once it is allowed where it `asks`. */
  | { readonly run: string; readonly asks?: boolean; readonly used?: Used }
  | { readonly question: string; readonly options: readonly string[] }
  /** Waits until there is guidance, or until `release` where a model cannot wait. */
  | "guidance"
  /** The provider refuses requests until then, in seconds since 1970. */
  | { readonly limitedUntil: number };

export type Acts = readonly (readonly Act[])[];

/** Where a stage stands, for another process that opens it. */
export interface StagePlace {
  readonly root: string;
  readonly runId: string;
  /** The model provider; null: the agent is its own. */
  readonly url: string | null;
}

/** What a stage uses of a bench. */
interface BenchLike extends AsyncDisposable {
  readonly root: string;
  readonly workspace: string;
  readonly events: readonly AgentEvent[];
  spec(): SessionSpec;
  start(spec?: Partial<SessionSpec>, signal?: AbortSignal): Promise<AgentSession>;
}

export interface StageParts {
  readonly bench: BenchLike;
  readonly place: StagePlace;
  /** Whatever the agent or its model received. */
  readonly received: () => Promise<unknown>;
  readonly release?: () => Promise<void>;
  /** Makes the agent's record of its session as old as one that is resumed in practice. */
  readonly later?: () => Promise<void>;
  /** Closed with the stage. */
  readonly provider?: AsyncDisposable;
}

/** An agent of some kind with its workspace, ready to start. */
export class Stage implements AsyncDisposable {
  readonly #parts: StageParts;

  constructor(parts: StageParts) {
    this.#parts = parts;
  }

  get place(): StagePlace {
    return this.#parts.place;
  }

  get workspace(): string {
    return this.#parts.bench.workspace;
  }

  get events(): readonly AgentEvent[] {
    return this.#parts.bench.events;
  }

  start(spec: Partial<SessionSpec> = {}, signal?: AbortSignal): Promise<AgentSession> {
    const { bench, place } = this.#parts;
    return bench.start({ runId: place.runId, ...spec }, signal ?? new AbortController().signal);
  }

  /** The first event, past or future, that `matches`. */
  until<Type extends AgentEvent["type"]>(
    type: Type,
    matches: (event: Extract<AgentEvent, { type: Type }>) => boolean = () => true,
  ): Promise<Extract<AgentEvent, { type: Type }>> {
    return eventually(type, async () => this.of(type).find(matches));
  }

  of<Type extends AgentEvent["type"]>(type: Type): Extract<AgentEvent, { type: Type }>[] {
    return this.events.filter(
      (event): event is Extract<AgentEvent, { type: Type }> => event.type === type,
    );
  }

  /** Every text that the agent or its model received. */
  async received(): Promise<readonly string[]> {
    return textsIn(await this.#parts.received());
  }

  /** Lets an agent continue that waits for guidance without being able to notice it. */
  async release(): Promise<void> {
    await this.#parts.release?.();
  }

  /** As if the next session began a minute later. */
  async later(): Promise<void> {
    await this.#parts.later?.();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#parts.provider?.[Symbol.asyncDispose]();
    await this.#parts.bench[Symbol.asyncDispose]();
  }
}

function textsIn(value: unknown): readonly string[] {
  if (typeof value === "string") return [value];
  if (typeof value !== "object" || value === null) return [];
  return Object.values(value).flatMap(textsIn);
}

/** The tokens of all acts. */
export function usedBy(acts: readonly Act[]): Used {
  const all = acts.map((act) => (typeof act === "object" && "used" in act && act.used) || nothing);
  return {
    input: all.reduce((sum, { input }) => sum + input, 0),
    output: all.reduce((sum, { output }) => sum + output, 0),
  };
}

const nothing: Used = { input: 0, output: 0 };
