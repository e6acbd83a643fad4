import { type Config, settingsOf } from "../config/config.ts";
import type { Problem } from "../config/finding.ts";
import { nearest } from "../text/nearest.ts";
import { textOf } from "../text/text.ts";
import { type AgentKind, type AgentModels, type ModelsDeps, rowOf } from "./kinds.ts";

/** A model that the configuration names for a kind of agent. */
interface NamedModel {
  readonly path: string;
  readonly name: string;
}

/** What a provider, or an agent of its own knowledge, offers. */
interface Offer {
  readonly from: string;
  /** An agent's own list leaves out names that work too, such as those of a release. */
  readonly isWhole: boolean;
  readonly ids: readonly string[];
}

interface ModelNamesDeps extends ModelsDeps {
  readonly kinds: readonly AgentKind[];
}

/** How long an answer, and a failure, is used again. */
const freshMs = 600_000;
const limitMs = 8_000;

/**
 * Compares the models that a configuration names with the lists of their providers. A list that cannot be had says nothing:
 * the attempt that needs the provider reports why.
 */
export class ModelNames {
  readonly #deps: ModelNamesDeps;
  readonly #kept = new Map<
    string,
    { readonly at: number; readonly ids: readonly string[] | null }
  >();

  constructor(deps: ModelNamesDeps) {
    this.#deps = deps;
  }

  /** Of the models that an agent of the configuration may be given. Warnings, because a model that no list has may still work. */
  async problems(agent: string, config: Config): Promise<readonly Problem[]> {
    const row = rowOf(this.#deps.kinds, config, agent);
    const models = row?.models ?? null;
    if (models === null) return [];
    const settings = settingsOf(config, agent);
    const own = (await models.own?.(settings, this.#deps)) ?? null;
    const named = modelsFor(agent, config, own?.model ?? null);
    const baseUrl = models.baseUrl(settings) ?? own?.baseUrl ?? null;
    // The agent's own list says nothing about the models of another provider.
    if (named.length === 0 || (own?.isOther && baseUrl === null)) return [];
    const ids = await this.#ids(agent, models, settings);
    if (ids === null || ids.length === 0) return [];
    const url = baseUrl === null ? null : URL.parse(baseUrl);
    const from = url === null ? agent : `${agent}, ${url.origin}${url.pathname}`;
    return named.flatMap((one) => problemOf(one, { from, isWhole: url !== null, ids }));
  }

  /** null: the list cannot be had. */
  async #ids(
    agent: string,
    models: AgentModels,
    settings: object,
  ): Promise<readonly string[] | null> {
    const { clock } = this.#deps;
    const source = JSON.stringify([agent, models.source(settings)]);
    const kept = this.#kept.get(source);
    if (kept !== undefined && clock.now() - kept.at < freshMs) return kept.ids;
    const leaving = new AbortController();
    const cancel = clock.after(limitMs, () => leaving.abort());
    const listed = await models.list(settings, this.#deps, leaving.signal).catch(() => null);
    cancel();
    const ids = listed?.map(({ id }) => id) ?? null;
    this.#kept.set(source, { at: clock.now(), ids });
    return ids;
  }
}

function problemOf({ path, name }: NamedModel, offer: Offer): readonly Problem[] {
  if (offer.ids.includes(name)) return [];
  const near = nearest(name, offer.ids);
  if (near === null && !offer.isWhole) return [];
  const meant = near === null ? "" : `; did you mean ${near}?`;
  return [
    {
      path,
      severity: "warning",
      message: `${path}: "${name}" is not among the models of ${offer.from}${meant}`,
      next: "symphony models",
    },
  ];
}

/** As an attempt chooses them: what `agents` says, `agent.model`, the settings, then the agent's own configuration. */
function modelsFor(agent: string, config: Config, own: string | null): readonly NamedModel[] {
  const named = (path: string, name: string | null) => (name === null ? [] : [{ path, name }]);
  const picked = (["byState", "byLabel"] as const).flatMap((key) =>
    [...config.agent[key]].flatMap(([of, pick]) =>
      (pick.agent ?? config.agent.use) === agent
        ? named(`agent.${key === "byState" ? "by_state" : "by_label"}.${of}.model`, pick.model)
        : [],
    ),
  );
  const { model }: { readonly model?: unknown } = settingsOf(config, agent);
  const isNamed = config.agents.has(agent);
  const [first] = [
    ...named(`agents.${agent}.model`, config.agents.get(agent)?.model ?? null),
    ...named("agent.model", config.agent.model),
    ...named(`${isNamed ? `agents.${agent}.provider` : agent}.model`, textOf(model)),
    ...named(isNamed ? `agents.${agent}` : agent, own),
  ];
  return [...(first === undefined ? [] : [first]), ...picked];
}
