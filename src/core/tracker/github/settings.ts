import { z } from "zod";
import type { TrackerConfig } from "../../config/config.ts";
import { type GithubSettings, githubOf } from "../../github/settings.ts";
import { normalState } from "../../model/issue.ts";
import { type BlockerRules, blockerRulesOf } from "../blockers.ts";
import { everyPart, providerFault, readProvider } from "../provider-settings.ts";
import type { Lookup } from "../tracker.ts";

/** The checked settings of `tracker.provider` for GitHub. Hold no credential. */
export interface GithubTrackerSettings {
  readonly site: GithubSettings;
  /** Empty: those of the issues of the board, which are known when it has been read. */
  readonly repositories: readonly ScopeRepository[];
  readonly states: StateRules;
  /** The project whose issues are worked on; null: all issues of the repositories. */
  readonly board: BoardSettings | null;
  readonly blockers: BlockerRules;
  /** A login, or `me`; null: issues of all people. */
  readonly assignee: string | null;
  /** In lower case; issues of other types or milestones are shown and not started. null: of all. */
  readonly types: ReadonlySet<string> | null;
  readonly milestones: ReadonlySet<string> | null;
  /** Labels in lower case to their priority. */
  readonly priorities: ReadonlyMap<string, number>;
}

/** A repository whose issues count. */
export interface ScopeRepository {
  readonly owner: string;
  readonly repo: string;
  /** What its identifiers begin with, such as `app` in `app-12`: safe in names of branches, paths and commands. */
  readonly prefix: string;
}

/** A project of an organization or a user, and the fields of it that are read. */
export interface BoardSettings {
  readonly owner: string;
  /** As in the project's address. */
  readonly number: number;
  readonly statusField: string;
  readonly priorityField: string;
  readonly estimateField: string;
}

/** Where an issue's state is read from, and the names that the configuration has for states. */
export interface StateRules {
  readonly from: "issue" | "labels" | "project";
  /** Of the labels that are states; with `labels` only. */
  readonly prefix: string;
  /** The first of the active states; null: there is none. */
  readonly first: string | null;
  /** Names in normal form to their spelling, in the order of work. */
  readonly configured: ReadonlyMap<string, string>;
  /** In normal form. */
  readonly terminal: ReadonlySet<string>;
}

/** The states of closed issues. */
export const closedNames = ["Closed", "Not planned", "Duplicate"] as const;

const repositoryForm =
  /^(?:https:\/\/[^/]+\/)?([A-Za-z0-9][A-Za-z0-9-]*)\/([A-Za-z0-9._-]+?)(?:\.git)?\/?$/;
const repository = z.string().trim().regex(repositoryForm, "must be owner/name");
const projectForm =
  /^(?:https:\/\/[^/]+\/(?:orgs|users)\/)?([A-Za-z0-9][A-Za-z0-9-]*)\/(?:projects\/)?([1-9]\d{0,8})(?:\/views\/\d+)?\/?$/;
const name = z.string().trim().min(1, "must not be blank").max(100);

const names = z
  .union([z.array(name).min(1, "must name one"), name])
  .transform((all) => new Set([all].flat().map((one) => one.toLowerCase())));

const Provider = z.object({
  repositories: z
    .union([z.array(repository).min(1, "must name a repository"), repository], {
      error: "must name repositories as owner/name, such as [acme/app]",
    })
    .nullish(),
  project: z
    .string({ error: "must be OWNER/NUMBER, such as acme/1" })
    .trim()
    .regex(projectForm, "must be OWNER/NUMBER, such as acme/1, or the project's address")
    .nullish(),
  status_field: name.nullish(),
  priority_field: name.nullish(),
  estimate_field: name.nullish(),
  state_from: z.enum(["issue", "labels", "project"]).nullish(),
  status_prefix: name.nullish(),
  states: z.array(name).max(100).nullish(),
  assignee: name.nullish(),
  types: names.nullish(),
  milestones: names.nullish(),
  priority_labels: z.record(z.string(), z.int().min(1).max(4)).nullish(),
});

const siteKeys = ["token", "app", "base_url"] as const;

/** The names that people give to labels of priority. */
const usualPriorities = [
  ["p0", "p1", "p2", "p3"],
  ["urgent", "high", "medium", "low"],
  ["critical", "", "", ""],
].flatMap((names) =>
  names.flatMap((one, at) =>
    one === ""
      ? []
      : [one, `priority:${one}`, `priority: ${one}`, `priority/${one}`].map(
          (label) => [label, at + 1] as const,
        ),
  ),
);

/**
 * Checks the settings without a request. Throws `missing_tracker_secret` for the credential and `invalid_tracker_config`
 * for everything else, with the key's path in `details.path`.
 */
export function githubTrackerSettings(
  config: TrackerConfig,
  lookup: Lookup,
): GithubTrackerSettings {
  const { provider } = config;
  const written = Object.fromEntries(siteKeys.map((key) => [key, provider[key]]));
  const { own, site } = everyPart({
    own: () => {
      const read = readProvider(Provider, provider);
      const board = boardOf(read);
      const repositories = [read.repositories ?? []].flat();
      if (repositories.length === 0 && (board === null || provider["app"] != null)) {
        const why =
          board === null
            ? "names no repository: write owner/name, such as [acme/app]"
            : "is missing: an app is installed in repositories, and needs one to find its tokens";
        throw providerFault("repositories", why);
      }
      return { ...read, repositories, board };
    },
    site: () => {
      const found = githubOf(written, lookup, {
        path: "tracker.provider",
        invalid: "invalid_tracker_config",
        missing: "missing_tracker_secret",
      });
      found.credential();
      return found;
    },
  });
  const { repositories, assignee, types, milestones, board, ...more } = own;
  const { priority_labels: priorities } = own;
  return {
    site,
    repositories: repositoriesOf(repositories),
    states: statesOf({ ...more, state_from: board ? "project" : more.state_from }, config),
    board,
    // A closed issue holds nothing back, whatever the configuration calls it.
    blockers: blockerRulesOf({
      ...config,
      terminalStates: [...config.terminalStates, ...closedNames],
    }),
    assignee: assignee?.replace(/^@/, "") ?? null,
    ...{ types: types ?? null, milestones: milestones ?? null },
    priorities: new Map(
      priorities
        ? Object.entries(priorities).map(([label, at]) => [label.trim().toLowerCase(), at])
        : usualPriorities,
    ),
  };
}

/** Owners are named only where two repositories have one name. */
function repositoriesOf(written: readonly string[]): readonly ScopeRepository[] {
  const places = new Map(
    written.map((one) => {
      const [, owner = "", repo = ""] = repositoryForm.exec(one) ?? [];
      return [`${owner}/${repo}`.toLowerCase(), { owner, repo }];
    }),
  );
  const all = [...places.values()];
  const isTaken = ({ repo }: { readonly repo: string }) =>
    all.filter((other) => other.repo.toLowerCase() === repo.toLowerCase()).length > 1;
  const named = all.map((place) => ({
    ...place,
    prefix: isTaken(place) ? `${place.owner}-${place.repo}` : place.repo,
  }));
  const prefixes = new Set(named.map(({ prefix }) => prefix.toLowerCase()));
  if (prefixes.size < named.length) {
    throw providerFault(
      "repositories",
      "names two repositories whose issues would have the same names",
    );
  }
  return named;
}

/** Throws for a setting that only a project has, and for another source of states next to a project. */
function boardOf(written: z.output<typeof Provider>): BoardSettings | null {
  const { project, state_from: from } = written;
  const [, owner = "", number] = projectForm.exec(project ?? "") ?? [];
  if (number === undefined) {
    const keys = ["status_field", "priority_field", "estimate_field"] as const;
    const [extra] = keys.filter((key) => written[key] != null);
    if (extra)
      throw providerFault(extra, "is of a project, and tracker.provider.project is not set");
    if (from === "project") throw providerFault("project", "is missing: state_from is project");
    return null;
  }
  if (from != null && from !== "project") {
    throw providerFault("state_from", `is ${from}: with tracker.provider.project it is project`);
  }
  return {
    ...{ owner, number: Number(number) },
    statusField: written.status_field ?? "Status",
    priorityField: written.priority_field ?? "Priority",
    estimateField: written.estimate_field ?? "Estimate",
  };
}

type WrittenStates = Pick<z.output<typeof Provider>, "state_from" | "status_prefix" | "states">;

function statesOf(written: WrittenStates, config: TrackerConfig): StateRules {
  const { activeStates, terminalStates } = config;
  const all = [...activeStates, ...(written.states ?? []), ...terminalStates];
  return {
    from: written.state_from ?? "issue",
    prefix: written.status_prefix ?? "status:",
    first: activeStates[0]?.trim() ?? null,
    configured: new Map(all.toReversed().map((one) => [normalState(one), one.trim()])),
    terminal: new Set(terminalStates.map(normalState)),
  };
}
