import type { Clock } from "../../clock.ts";
import { SymphonyError } from "../../model/errors.ts";
import { normalState } from "../../model/issue.ts";
import type { LinearClient } from "./client.ts";
import { documents, scopeAnswer, shaped, viewerAnswer } from "./queries.ts";
import type { LinearSettings } from "./settings.ts";

/** A state of a team's workflow. */
export interface LinearState {
  readonly id: string;
  readonly name: string;
}

/** The configured project as Linear knows it. */
export interface ScopeView {
  readonly slugId: string;
  /** Team key, such as `ENG`, to the team's states in Linear's order. */
  readonly teams: ReadonlyMap<string, readonly LinearState[]>;
  readonly teamIds: readonly string[];
}

/** Longest time until a renamed state or a new team is noticed. */
const oldestMs = 1_800_000;
/** Shortest time before a name that was not found is looked up again. */
const missAgainMs = 300_000;
/** The last part of a project's address: `agent-orchestration-a79254768c8f`. */
const slugTail = /-([0-9a-f]{8,})$/;

/** The project, its teams' states and the viewer: read once and cached. */
export class Scope {
  readonly #client: LinearClient;
  readonly #settings: LinearSettings;
  readonly #clock: Clock;
  #view: Promise<ScopeView> | null = null;
  #requestedAt = 0;
  #viewerId: Promise<string> | null = null;

  constructor(client: LinearClient, settings: LinearSettings, clock: Clock) {
    this.#client = client;
    this.#settings = settings;
    this.#clock = clock;
  }

  view(): Promise<ScopeView> {
    if (this.#view === null || this.#ageMs() > oldestMs) {
      this.#requestedAt = this.#clock.now();
      const view = this.#ask();
      this.#view = view;
      // A failure answers this call only: the next one sends a new request.
      view.catch(() => {
        if (this.#view === view) this.#view = null;
      });
    }
    return this.#view;
  }

  /**
   * The spellings that Linear, which is case-sensitive, has for `names`. A name that no team knows is looked up
   * again at intervals, and is used as written.
   */
  async stateNames(names: readonly string[]): Promise<readonly string[]> {
    const spelled = (view: ScopeView) => {
      const known = [...new Set([...view.teams.values()].flat().map((state) => state.name))];
      return names.map((name) => ({
        name,
        spellings: known.filter((other) => normalState(other) === normalState(name)),
      }));
    };
    let found = spelled(await this.view());
    if (found.some(({ spellings }) => spellings.length === 0) && this.#ageMs() > missAgainMs) {
      this.#view = null;
      found = spelled(await this.view());
    }
    return [
      ...new Set(
        found.flatMap(({ name, spellings }) => (spellings.length > 0 ? spellings : [name.trim()])),
      ),
    ];
  }

  /** States of the team that `identifier` (`ENG-12`) belongs to. Rejects with `tracker_response`. */
  async teamStates(identifier: string): Promise<readonly LinearState[]> {
    const key = identifier.slice(0, identifier.lastIndexOf("-"));
    const known = (await this.view()).teams.get(key);
    if (known !== undefined) return known;
    if (this.#ageMs() > missAgainMs) this.#view = null;
    const states = (await this.view()).teams.get(key);
    if (states !== undefined) return states;
    const message = `No team of the Linear project has the issue ${identifier}`;
    throw new SymphonyError("tracker_response", message, { details: { identifier } });
  }

  /** The configured assignee; `me` is replaced by the key's owner (L-10). null for no filter. */
  async assigneeId(): Promise<string | null> {
    const { assignee } = this.#settings;
    if (assignee !== "me") return assignee;
    if (this.#viewerId === null) {
      const viewerId = this.#askViewer();
      this.#viewerId = viewerId;
      viewerId.catch(() => {
        this.#viewerId = null;
      });
    }
    return this.#viewerId;
  }

  #ageMs(): number {
    return this.#clock.now() - this.#requestedAt;
  }

  async #ask(): Promise<ScopeView> {
    const { projectSlug } = this.#settings;
    const tail = slugTail.exec(projectSlug)?.[1];
    const operation = "SymphonyScope";
    const { data } = await this.#client.read({
      operation,
      document: documents[operation],
      variables: { slugs: tail === undefined ? [projectSlug] : [projectSlug, tail] },
    });
    const project = shaped(scopeAnswer, operation, data).projects.nodes[0];
    if (project === undefined) {
      const message = `With this API key, Linear has no project with the slug ${projectSlug}`;
      throw new SymphonyError("invalid_tracker_config", message, {
        details: { path: "tracker.provider.project_slug", projectSlug },
        hint: "The slug is the last part of the project's address, such as a79254768c8f",
      });
    }
    const teams = project.teams.nodes.map(({ key, states }) => [key, states.nodes] as const);
    const teamIds = project.teams.nodes.map(({ id }) => id);
    return { slugId: project.slugId, teams: new Map(teams), teamIds };
  }

  async #askViewer(): Promise<string> {
    const operation = "SymphonyViewer";
    const document = documents[operation];
    const { data } = await this.#client.read({ operation, document, variables: {} });
    const id = shaped(viewerAnswer, operation, data).viewer?.id;
    if (id) return id;
    throw new SymphonyError("tracker_response", "Linear does not say whose API key this is", {
      details: { path: "tracker.provider.assignee" },
      hint: "Set tracker.provider.assignee to a user id",
    });
  }
}
