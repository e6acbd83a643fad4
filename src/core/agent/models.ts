import { type Config, kindOf, modelOf, settingsOf } from "../config/config.ts";
import { type LearnedRow, type Model, providerError } from "./agent.ts";
import { type AgentKind, type ModelsDeps, type OwnProvider, rowOf } from "./kinds.ts";

export interface Provider {
  readonly kind: string;
  /** null: the agent has a list of its own. */
  readonly baseUrl: string | null;
  /** Whose list it is: what the provider offers, or what the agent's program knows of. */
  readonly list: "provider" | "agent";
}

export interface Catalog {
  readonly provider: Provider;
  /** The model in use; null: the agent decides. */
  readonly model: string | null;
  readonly models: readonly (Model & { readonly inUse: boolean })[];
  /** Wall-clock ms; null before the first request. */
  readonly fetchedAt: number | null;
}

interface ModelListDeps extends ModelsDeps {
  readonly kinds: readonly AgentKind[];
  config(): Config;
  /** What answers showed about providers. */
  readonly learned?: { rows(): readonly LearnedRow[]; forget(): void };
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
    const config = this.#deps.config();
    const none = {
      provider: this.#provider(config, null),
      model: this.#model(config),
      models: [],
      fetchedAt: null,
    };
    return this.#fresh(this.#source()) ?? none;
  }

  /** What answers showed about providers and their models. */
  learned(): readonly LearnedRow[] {
    return this.#deps.learned?.rows() ?? [];
  }

  /** Asks providers anew: for the list, and for what they can take. */
  forget(): void {
    this.#remembered = null;
    this.#deps.learned?.forget();
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
    const own = await this.#own(config);
    const listed = await this.#models(config, signal);
    const model = this.#model(config) ?? own?.model ?? null;
    const models = listed.map((one) => ({ ...one, inUse: one.id === model }));
    const provider = this.#provider(config, own);
    const catalog = { provider, model, models, fetchedAt: clock.wall() };
    this.#remembered = { catalog, at: clock.now(), source };
    return catalog;
  }

  async #own(config: Config): Promise<OwnProvider | null> {
    const models = this.#row(config)?.models;
    return (await models?.own?.(settingsOf(config, config.agent.use), this.#deps)) ?? null;
  }

  async #models(config: Config, signal: AbortSignal): Promise<readonly Model[]> {
    const models = this.#row(config)?.models;
    const { use } = config.agent;
    if (!models) {
      const hint = "symphony model ISSUE MODEL passes any name on to the agent";
      throw providerError("unsupported", `the agent ${use} has no list of them`, { hint });
    }
    return models.list(settingsOf(config, use), this.#deps, signal);
  }

  #fresh(source: string): Catalog | null {
    const known = this.#remembered;
    if (known === null || known.source !== source) return null;
    return this.#deps.clock.now() - known.at < freshMs ? known.catalog : null;
  }

  /** A different provider or command means a different list. */
  #source(): string {
    const config = this.#deps.config();
    const { use } = config.agent;
    const source = this.#row(config)?.models?.source(settingsOf(config, use)) ?? [];
    return JSON.stringify([use, this.#model(config), ...source]);
  }

  #provider(config: Config, own: OwnProvider | null): Provider {
    const { use } = config.agent;
    const kind = kindOf(config, use);
    const named = this.#row(config)?.models?.baseUrl(settingsOf(config, use)) ?? null;
    const baseUrl = shownUrl(named ?? own?.baseUrl ?? null);
    return { kind, baseUrl, list: baseUrl === null ? "agent" : "provider" };
  }

  #model(config: Config): string | null {
    return modelOf(config, config.agent.use);
  }

  #row(config: Config): AgentKind | null {
    return rowOf(this.#deps.kinds, config);
  }
}

/**
 * Without anything of it that may be a credential. A check of a setting may refuse such a url, but
 * the display must not depend on that.
 */
function shownUrl(written: string | null): string | null {
  const url = written === null ? null : URL.parse(written);
  return url && `${url.origin}${url.pathname}`;
}
