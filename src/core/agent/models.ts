import { type Config, settingsOf } from "../config/config.ts";
import { type Model, providerError } from "./agent.ts";
import { type AgentKind, agentInUse, type ModelsDeps } from "./kinds.ts";

export interface Provider {
  readonly kind: string;
  /** null: the agent has a list of its own. */
  readonly baseUrl: string | null;
}

export interface Catalog {
  readonly provider: Provider;
  readonly models: readonly Model[];
  /** Wall-clock ms; null before the first request. */
  readonly fetchedAt: number | null;
}

interface ModelListDeps extends ModelsDeps {
  readonly kinds: readonly AgentKind[];
  config(): Config;
}

interface Remembered {
  readonly catalog: Catalog;
  readonly at: number;
  readonly source: string;
}

const freshMs = 60_000;

/**
 * The models of the configured provider; requested at most once a minute, for all callers together.
 */
export class ModelList {
  readonly #deps: ModelListDeps;
  readonly #leaving = new AbortController();
  #remembered: Remembered | null = null;
  #pending: { readonly source: string; readonly answer: Promise<Catalog> } | null = null;

  constructor(deps: ModelListDeps) {
    this.#deps = deps;
  }

  /**
   * Rejects with `provider_error`, whose details have the category. A failure is not remembered.
   */
  list(): Promise<Catalog> {
    const source = this.#source();
    const fresh = this.#fresh(source);
    if (fresh !== null) return Promise.resolve(fresh);
    if (this.#pending?.source === source) return this.#pending.answer;
    const pending = { source, answer: this.#ask(source) };
    this.#pending = pending;
    const over = () => {
      if (this.#pending === pending) this.#pending = null;
    };
    pending.answer.then(over, over);
    return pending.answer;
  }

  /** The remembered list, without a request. */
  remembered(): Catalog {
    const none = { provider: this.#provider(this.#deps.config()), models: [], fetchedAt: null };
    return this.#fresh(this.#source()) ?? none;
  }

  /** Ends running requests. */
  async close(): Promise<void> {
    this.#leaving.abort();
    await this.#pending?.answer.catch(() => {});
  }

  async #ask(source: string): Promise<Catalog> {
    const { clock } = this.#deps;
    const config = this.#deps.config();
    const { signal } = this.#leaving;
    const models = await this.#models(config, signal);
    const catalog = { provider: this.#provider(config), models, fetchedAt: clock.wall() };
    this.#remembered = { catalog, at: clock.now(), source };
    return catalog;
  }

  async #models(config: Config, signal: AbortSignal): Promise<readonly Model[]> {
    const models = this.#row(config)?.models;
    const { kind } = config.agent;
    if (!models) throw providerError("unsupported", `the agent ${kind} has no list of them`);
    return models.list(settingsOf(config, kind), this.#deps, signal);
  }

  #fresh(source: string): Catalog | null {
    const known = this.#remembered;
    if (known === null || known.source !== source) return null;
    return this.#deps.clock.now() - known.at < freshMs ? known.catalog : null;
  }

  /** A different provider or command means a different list. */
  #source(): string {
    const config = this.#deps.config();
    const { kind } = config.agent;
    const source = this.#row(config)?.models?.source(settingsOf(config, kind)) ?? [];
    return JSON.stringify([kind, ...source]);
  }

  #provider(config: Config): Provider {
    const { kind } = config.agent;
    return { kind, baseUrl: this.#row(config)?.models?.baseUrl(settingsOf(config, kind)) ?? null };
  }

  #row(config: Config): AgentKind | null {
    return agentInUse(this.#deps.kinds, config);
  }
}
