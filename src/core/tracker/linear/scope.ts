import type { z } from "zod";
import type { Clock } from "../../clock.ts";
import { SymphonyError } from "../../model/errors.ts";
import { normalState } from "../../model/issue.ts";
import type { LinearClient } from "./client.ts";
import {
  labelsAnswer,
  query,
  scopeAnswer,
  type TeamNode,
  usersAnswer,
  viewerAnswer,
  viewsAnswer,
} from "./queries.ts";
import { type LinearFilter, type LinearSettings, type ProjectSetting, uuid } from "./settings.ts";

/** A state of a team's workflow. */
export interface LinearState {
  readonly id: string;
  readonly name: string;
}

/** Something that a setting names, as Linear knows it. */
export interface Named {
  readonly id: string;
  readonly name: string;
}

/** The configured scope as Linear knows it; null: the setting is not set. */
export interface ScopeView {
  readonly projects: readonly (Named & { readonly slugId: string })[] | null;
  /** The key that names them. */
  readonly projectsBy: string;
  readonly team: (Named & { readonly key: string }) | null;
  readonly filter: LinearFilter | null;
  readonly view: { readonly name: string; readonly filter: LinearFilter } | null;
  readonly delegate: Named | null;
  /** The user whose issues count. */
  readonly assignee: Named | null;
  /** Team key, such as `ENG`, to the team's states in Linear's order. */
  readonly teams: ReadonlyMap<string, readonly LinearState[]>;
  readonly teamIds: readonly string[];
}

/** Longest time until a renamed state or a new team is noticed, unless a poll has no issues any more. */
const oldestMs = 1_800_000;
/** Shortest time before a name that was not found is looked up again. */
const missAgainMs = 300_000;
/** The last part of an address: `agent-orchestration-a79254768c8f`. */
const slugTail = /-([0-9a-f]{8,})$/;
/** Fits no record. */
export const noRecord = { id: { in: [] } };
const mostTeams = 50;
/** 250 labels each. */
const mostLabelPages = 20;

/** Linear's filter for the issues of the scope, sent with every list. */
export function filterOfScope({ projects, team, filter, view, delegate }: ScopeView): LinearFilter {
  const slugs = projects?.map(({ slugId }) => slugId) ?? [];
  const [only] = slugs;
  const all = [filter, view?.filter].filter((one) => one != null);
  return {
    ...(only !== undefined && {
      project: { slugId: slugs.length === 1 ? { eq: only } : { in: slugs } },
    }),
    ...(team && { team: { id: { eq: team.id } } }),
    ...(delegate && { delegate: { id: { eq: delegate.id } } }),
    ...(all.length > 0 && { and: all }),
  };
}

/** The scope, its teams' states and its users: read once and cached. */
export class Scope {
  readonly #client: LinearClient;
  readonly #settings: LinearSettings;
  readonly #clock: Clock;
  #view: Promise<ScopeView> | null = null;
  #requestedAt = 0;
  /** By setting: they do not change while the tracker is in use. */
  readonly #users = new Map<string, Promise<Named>>();

  constructor(client: LinearClient, settings: LinearSettings, clock: Clock) {
    this.#client = client;
    this.#settings = settings;
    this.#clock = clock;
  }

  /** At most `maxAgeMs` old. */
  view(maxAgeMs = oldestMs): Promise<ScopeView> {
    if (this.#view === null || this.#ageMs() > maxAgeMs) {
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
    const message = `No team of the configured scope has the issue ${identifier}`;
    throw new SymphonyError("tracker_response", message, { details: { identifier } });
  }

  /**
   * The labels that an issue of the scope can have: those of its teams and of the workspace, and no group of labels. null: there
   * are too many to read.
   */
  async labels(): Promise<readonly string[] | null> {
    const { teamIds } = await this.view();
    const found: string[] = [];
    let after: string | null = null;
    for (let page = 0; page < mostLabelPages; page += 1) {
      const { issueLabels } = await this.#labelPage(after);
      const own = issueLabels.nodes.filter(
        ({ isGroup, team }) => !isGroup && (team == null || teamIds.includes(team.id)),
      );
      found.push(...own.map(({ name }) => name));
      const { hasNextPage, endCursor } = issueLabels.pageInfo;
      if (!hasNextPage) return [...new Set(found)];
      if (!endCursor || endCursor === after) return null;
      after = endCursor;
    }
    return null;
  }

  #labelPage(after: string | null): Promise<z.output<typeof labelsAnswer>> {
    const variables = { after };
    return query(this.#client, { operation: "SymphonyLabels", variables, shape: labelsAnswer });
  }

  #ageMs(): number {
    return this.#clock.now() - this.#requestedAt;
  }

  async #ask(): Promise<ScopeView> {
    const { scope } = this.#settings;
    const { projects, teams, team } = await this.#places();
    const [view, assignee, delegate] = [
      scope.view === null ? null : await this.#customView(scope.view),
      await this.#user("assignee", scope.assignee),
      await this.#user("delegate", scope.delegate),
    ];
    const isList = scope.projects.some(({ path }) => path.includes(".projects."));
    return {
      projects,
      projectsBy: `tracker.provider.${isList ? "projects" : "project_slug"}`,
      team,
      view,
      assignee,
      delegate,
      filter: scope.filter,
      teams: new Map(teams.map(({ key, states }) => [key, states.nodes])),
      teamIds: teams.map(({ id }) => id),
    };
  }

  /** Projects and teams in one request, below Linear's limit of complexity. */
  async #places() {
    const { projects, team } = this.#settings.scope;
    const count = projects.length;
    // Each project's teams, and each team's states, are counted as if all were there.
    const teamsEach = Math.max(Math.min(Math.floor(110 / Math.max(count, 1)), mostTeams), 3);
    const anyTeam = count === 0 && team === null;
    const answer = await query(this.#client, {
      operation: "SymphonyScope",
      shape: scopeAnswer,
      variables: {
        projects: count === 0 ? noRecord : projectFilter(projects),
        projectCount: Math.max(count, 1),
        teamsEach: count === 0 ? 1 : teamsEach,
        teams: anyTeam ? {} : team === null ? noRecord : teamFilter(team),
        teamCount: anyTeam ? mostTeams : 2,
      },
    });
    const found = answer.projects.nodes.map((one) => ({
      ...{ id: one.id ?? "", slugId: one.slugId, name: one.name ?? one.slugId },
      teams: one.teams.nodes,
    }));
    for (const setting of projects) {
      if (!found.some((one) => isProject(setting, one))) throw noProject(setting);
    }
    const own = team === null ? null : theTeam(team, answer.teams.nodes);
    const ofProjects = found.flatMap((one) => one.teams);
    const all = own ? [own] : count === 0 ? answer.teams.nodes : ofProjects;
    return {
      projects: count === 0 ? null : found,
      teams: [...new Map(all.map((one) => [one.id, one])).values()],
      team: own && { id: own.id, key: own.key, name: own.name ?? own.key },
    };
  }

  async #customView(wanted: string): Promise<ScopeView["view"]> {
    const { customViews } = await query(this.#client, {
      operation: "SymphonyViews",
      variables: {},
      shape: viewsAnswer,
    });
    const views = customViews.nodes;
    const names = [wanted, slugTail.exec(wanted)?.[1] ?? wanted];
    const found =
      views.find(({ id, slugId }) => names.includes(id) || names.includes(slugId)) ??
      views.find(({ name }) => name.trim().toLowerCase() === wanted.trim().toLowerCase());
    if (found) return { name: found.name, filter: found.filterData };
    throw unknown("view", `no custom view ${wanted}`, "The id is the last part of its address");
  }

  async #user(setting: "assignee" | "delegate", name: string | null): Promise<Named | null> {
    if (name === null) return null;
    if (uuid.test(name)) return { id: name, name: `the user of tracker.provider.${setting}` };
    const known = this.#users.get(setting);
    if (known !== undefined) return known;
    const user = name === "me" ? this.#askViewer(setting) : this.#askUser(setting, name);
    this.#users.set(setting, user);
    user.catch(() => this.#users.delete(setting));
    return user;
  }

  async #askViewer(setting: string): Promise<Named> {
    const { viewer } = await query(this.#client, {
      operation: "SymphonyViewer",
      variables: {},
      shape: viewerAnswer,
    });
    if (viewer?.id) return { id: viewer.id, name: viewer.displayName ?? "me" };
    throw new SymphonyError("tracker_response", "Linear does not say whose API key this is", {
      details: { path: `tracker.provider.${setting}` },
      hint: `Set tracker.provider.${setting} to a user id`,
    });
  }

  async #askUser(setting: string, name: string): Promise<Named> {
    const same = { eqIgnoreCase: name };
    const filter = { or: [{ email: same }, { name: same }, { displayName: same }] };
    const { users } = await query(this.#client, {
      operation: "SymphonyUsers",
      variables: { filter },
      shape: usersAnswer,
    });
    const [found, second] = users.nodes;
    if (found && !second) return { id: found.id, name: found.displayName ?? name };
    const hint = "A user's name, email or id, or me";
    throw unknown(setting, found ? `several users ${name}` : `no user ${name}`, hint);
  }
}

function projectFilter(projects: readonly ProjectSetting[]): LinearFilter {
  const names = projects.map(({ name }) => name);
  const ids = names.filter((name) => uuid.test(name));
  const slugs = names.filter((name) => !uuid.test(name));
  const tails = slugs.flatMap((name) => slugTail.exec(name)?.[1] ?? []);
  const bySlug = { slugId: { in: [...slugs, ...tails] } };
  if (ids.length === 0) return bySlug;
  return slugs.length === 0 ? { id: { in: ids } } : { or: [{ id: { in: ids } }, bySlug] };
}

function isProject({ name }: ProjectSetting, found: { id: string; slugId: string }): boolean {
  return [name, slugTail.exec(name)?.[1]].some(
    (one) => one === found.slugId || one?.toLowerCase() === found.id.toLowerCase(),
  );
}

function teamFilter(team: string): LinearFilter {
  if (uuid.test(team)) return { id: { eq: team } };
  const same = { eqIgnoreCase: team };
  return { or: [{ key: same }, { name: same }] };
}

/** A key is unique; a name need not be. */
function theTeam(wanted: string, found: readonly TeamNode[]): TeamNode {
  const byKey = found.find(({ key }) => key.toLowerCase() === wanted.toLowerCase());
  const [first, second] = found;
  if (byKey) return byKey;
  if (first && !second) return first;
  const what = first ? `several teams ${wanted}` : `no team ${wanted}`;
  throw unknown("team", what, "A team's key, such as ENG, its name or its id");
}

function noProject({ name, path }: ProjectSetting): SymphonyError {
  const message = `With this API key, Linear has no project with the slug ${name}`;
  return new SymphonyError("invalid_tracker_config", message, {
    details: { path, projectSlug: name },
    hint: "The slug is the last part of the project's address, such as a79254768c8f",
  });
}

function unknown(setting: string, what: string, hint: string): SymphonyError {
  const path = `tracker.provider.${setting}`;
  const message = `${path}: with this API key, Linear has ${what}`;
  return new SymphonyError("invalid_tracker_config", message, { details: { path }, hint });
}
