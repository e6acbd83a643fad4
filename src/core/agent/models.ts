import type { Clock } from "../clock.ts";
import type { Config } from "../config/config.ts";
import { type Model, providerError } from "./agent.ts";
import { askCodex, type CodexModelsDeps } from "./codex/models.ts";
import { askOpenai } from "./openai/models.ts";

export interface Provider {
  readonly kind: string;
  /** null: the agent has a list of its own. */
  readonly baseUrl: string | null;
}

export interface Catalog {
  readonly provider: Provider;
  readonly models: readonly Model[];
  /** Wall-clock ms; null when nobody has been asked. */
  readonly fetchedAt: number | null;
}

interface ModelListDeps extends CodexModelsDeps {
  readonly clock: Clock;
  config(): Config;
  /** The value behind `$NAME`. */
  lookup(name: string): string | undefined;
}

interface Remembered {
  readonly catalog: Catalog;
  readonly at: number;
  readonly source: string;
}

const freshMs = 60_000;

/** The models of the configured provider; asked at most once a minute, however many want to know. */
export class ModelList {
  readonly #parts: ModelListDeps;
  readonly #leaving = new AbortController();
  #remembered: Remembered | null = null;
  #asking: { readonly source: string; readonly answer: Promise<Catalog> } | null = null;

  constructor(parts: ModelListDeps) {
    this.#parts = parts;
  }

  /** Rejects with `provider_error`, whose details have the category. A failure is not remembered. */
  list(): Promise<Catalog> {
    const source = this.#source();
    const fresh = this.#fresh(source);
    if (fresh !== null) return Promise.resolve(fresh);
    if (this.#asking?.source === source) return this.#asking.answer;
    const asking = { source, answer: this.#ask(source) };
    this.#asking = asking;
    const over = () => {
      if (this.#asking === asking) this.#asking = null;
    };
    asking.answer.then(over, over);
    return asking.answer;
  }

  /** What is remembered, without asking anybody. */
  remembered(): Catalog {
    const none = { provider: providerOf(this.#parts.config()), models: [], fetchedAt: null };
    return this.#fresh(this.#source()) ?? none;
  }

  /** Ends what is under way. */
  async close(): Promise<void> {
    this.#leaving.abort();
    await this.#asking?.answer.catch(() => {});
  }

  async #ask(source: string): Promise<Catalog> {
    const { clock } = this.#parts;
    const config = this.#parts.config();
    const { signal } = this.#leaving;
    const models = await this.#models(config, signal);
    const catalog = { provider: providerOf(config), models, fetchedAt: clock.wall() };
    this.#remembered = { catalog, at: clock.now(), source };
    return catalog;
  }

  async #models(config: Config, signal: AbortSignal): Promise<readonly Model[]> {
    const { clock, lookup } = this.#parts;
    switch (config.agent.kind) {
      case "codex":
        return askCodex(config.codex, this.#parts, signal);
      case "openai":
        return askOpenai(config.openai, { clock, lookup, signal });
      default:
        throw providerError("unsupported", `the agent ${config.agent.kind} has no list of them`);
    }
  }

  #fresh(source: string): Catalog | null {
    const known = this.#remembered;
    if (known === null || known.source !== source) return null;
    return this.#parts.clock.now() - known.at < freshMs ? known.catalog : null;
  }

  /** Another provider, or another command, is another list. */
  #source(): string {
    const { agent, codex, openai } = this.#parts.config();
    return JSON.stringify([agent.kind, codex.command, openai.baseUrl, openai.apiKey]);
  }
}

function providerOf({ agent, openai }: Config): Provider {
  if (agent.kind !== "openai") return { kind: agent.kind, baseUrl: null };
  const url = URL.parse(openai.baseUrl);
  // Its check refuses a url with a user in it, but what is shown must not depend on that.
  return { kind: "openai", baseUrl: url && `${url.origin}${url.pathname}` };
}
