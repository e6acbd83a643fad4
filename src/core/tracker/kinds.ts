import { either } from "../config/agents.ts";
import type { TrackerConfig } from "../config/config.ts";
import type { TrackerSection } from "../config/sections.ts";
import { SymphonyError } from "../model/errors.ts";
import { nearest } from "../text/nearest.ts";
import { linearWebhook } from "./linear/deliveries.ts";
import type { LocalIssues } from "./local/issues.ts";
import type { Lookup, ScopeProject, Tracker, TrackerDeps, TrackerWebhook } from "./tracker.ts";

/** The functions of a kind of tracker once its modules are loaded. */
export interface TrackerAdapter {
  /** Checks the settings without a request to the tracker. Throws `invalid_tracker_config` or `missing_tracker_secret`. */
  check(config: TrackerConfig, lookup: Lookup): void;
  /** Sends no request yet. Throws as `check` does. */
  create(config: TrackerConfig, deps: TrackerDeps): Tracker;
  /**
   * The projects that a credential can see, to choose one for a new set-up. Absent where there are none. Rejects with a
   * tracker's code.
   */
  projects?(
    provider: TrackerConfig["provider"],
    deps: TrackerDeps,
  ): Promise<readonly ScopeProject[]>;
  /** The issues themselves, if symphony stores them; null: they are edited in the tracker. */
  openIssues(config: TrackerConfig, deps: TrackerDeps): LocalIssues | null;
}

/** How a new project is set up on a kind of tracker. */
export interface TrackerSetup {
  /** For people. */
  readonly title: string;
  /** The variable or secret with its credential; null: it needs none. */
  readonly keyName: string | null;
  /** Where a person gets one. */
  readonly keyFrom: string | null;
  /** The setting of `tracker.provider` that takes a project; null: there are no projects. */
  readonly projectKey: string | null;
  /** The setting that takes a board instead, whose id has the form `acme/projects/1`. Omitted: there are no boards. */
  readonly boardKey?: string;
  /** What the service calls a project. */
  readonly projectWord?: string;
  /** The settings of `tracker.provider` that take the credential's name and another address than the usual one. */
  readonly siteKeys: { readonly credential: string; readonly address: string } | null;
  /** What else `tracker` has, as lines of YAML. */
  readonly settings: readonly string[];
  /** What else `tracker.provider` has, as lines of YAML. */
  readonly provider: readonly string[];
  /** How an agent moves its issue, as a sentence of a prompt: it names a tool that the tracker has. */
  readonly move: string;
  /** What comes before or next to the first run: a first issue is made, or one's own program is asked. null: nothing. */
  readonly first: string | null;
}

/** A row of the table of trackers: all that the rest of symphony needs to know of one kind. */
export interface TrackerKind {
  /** The value of `tracker.kind`; also the last segment of its webhook's path. */
  readonly kind: string;
  readonly section: TrackerSection;
  /** Loads the modules of the kind, which no other kind needs. */
  load(): Promise<TrackerAdapter>;
  /** null: this kind sends no webhooks. */
  readonly webhook: TrackerWebhook | null;
  readonly setup: TrackerSetup;
}

/** The states of a file that names none, for kinds with workflows of this shape. */
const states = {
  active: ["Todo", "In Progress"],
  terminal: ["Closed", "Cancelled", "Canceled", "Duplicate", "Done"],
};

/** GitHub's names for the reasons of closing. */
const closedStates = ["Closed", "Not planned", "Duplicate"];

/** Every kind of tracker. */
export const trackerKinds: readonly TrackerKind[] = [
  {
    kind: "linear",
    section: {
      states,
      minPollMs: 1_000,
      flatKeys: ["endpoint", "api_key", "project_slug", "assignee"],
      providerKeys: [
        "endpoint",
        "api_key",
        "project_slug",
        "projects",
        "team",
        "filter",
        "view",
        "assignee",
        "delegate",
        "webhook_secret",
        "oauth",
        "sessions",
      ],
      example: {
        provider: { api_key: "$LINEAR_API_KEY", project_slug: "a79254768c8f" },
        required_labels: ["agent"],
      },
    },
    async load() {
      const { linearAdapter } = await import("./linear/adapter.ts");
      return linearAdapter;
    },
    webhook: linearWebhook,
    setup: {
      title: "Linear",
      keyName: "LINEAR_API_KEY",
      keyFrom: "https://linear.app/settings/account/security",
      projectKey: "project_slug",
      siteKeys: { credential: "api_key", address: "endpoint" },
      settings: [],
      provider: ["api_key: $LINEAR_API_KEY"],
      move: "When you are done, comment on the issue with what you did and move it to the state for review, both with the tool linear_graphql.",
      first: null,
    },
  },
  {
    kind: "github",
    section: {
      states: { active: ["Open"], terminal: closedStates },
      // Those of GitHub's templates for projects.
      statesFor: ({ project }) =>
        project ? { active: states.active, terminal: ["Done", ...closedStates] } : null,
      // An unchanged list costs nothing of the hour's requests.
      minPollMs: 1_000,
      flatKeys: [],
      providerKeys: [
        "repositories",
        "project",
        "status_field",
        "priority_field",
        "estimate_field",
        "token",
        "app",
        "base_url",
        "state_from",
        "status_prefix",
        "states",
        "assignee",
        "priority_labels",
      ],
      example: {
        provider: { token: "$GITHUB_TOKEN", repositories: ["acme/app"] },
        required_labels: ["agent"],
      },
    },
    async load() {
      const { githubAdapter } = await import("./github/adapter.ts");
      return githubAdapter;
    },
    // Its deliveries come to the path of GitHub, together with those about pull requests.
    webhook: null,
    setup: {
      title: "GitHub Issues",
      keyName: "GITHUB_TOKEN",
      keyFrom: "https://github.com/settings/personal-access-tokens",
      projectKey: "repositories",
      boardKey: "project",
      projectWord: "repository",
      siteKeys: { credential: "token", address: "base_url" },
      settings: ["required_labels: [agent] # without this line every open issue is worked on"],
      provider: ["token: $GITHUB_TOKEN"],
      move: "When you are done, comment on the issue with what you did with the tool issue_comment.",
      first: 'symphony issue create --title "What is to be done" --label agent',
    },
  },
  {
    kind: "local",
    section: {
      states,
      minPollMs: 50,
      flatKeys: [],
      // Webhooks are received with every tracker.
      providerKeys: ["prefix", "states", "webhook_secret"],
      example: {},
    },
    async load() {
      const { localAdapter } = await import("./local/adapter.ts");
      return localAdapter;
    },
    webhook: null,
    setup: {
      title: "symphony's own tracker, without an account",
      keyName: null,
      keyFrom: null,
      projectKey: null,
      siteKeys: null,
      settings: [],
      provider: ["states: [In Review] # where finished work waits for a person"],
      move: "When you are done, move the issue to In Review with the tool issue_move.",
      first: 'symphony issue create --title "What is to be done"',
    },
  },
  {
    kind: "command",
    section: {
      states: null,
      minPollMs: 1_000,
      flatKeys: [],
      providerKeys: ["command", "env", "secret_env", "timeout_ms", "states"],
      example: {
        provider: {
          command: ["node", "trackers/jira.mjs"],
          env: { JIRA_URL: "https://example.atlassian.net" },
          secret_env: ["JIRA_TOKEN"],
        },
        active_states: ["To Do", "In Progress"],
        terminal_states: ["Done"],
      },
    },
    async load() {
      const { commandAdapter } = await import("./command/adapter.ts");
      return commandAdapter;
    },
    webhook: null,
    setup: {
      title: "a program of yours, for any other tracker",
      keyName: null,
      keyFrom: null,
      projectKey: null,
      siteKeys: null,
      settings: [
        "active_states: [To Do, In Progress] # as your tracker names them",
        "terminal_states: [Done]",
      ],
      provider: ["command: [node, tracker.mjs] # your program: docs/trackers/command.md"],
      move: "When you are done, move the issue to the state for review with the tool issue_move.",
      first: "symphony doctor",
    },
  },
];

/** The row of a kind. Throws `unsupported_tracker_kind`, which lists the supported kinds. */
export function requireTrackerKind(kinds: readonly TrackerKind[], kind: string): TrackerKind {
  const found = kinds.find((row) => row.kind === kind);
  if (found) return found;
  const supported = kinds.map((row) => row.kind);
  const near = nearest(kind.toLowerCase(), supported);
  const meant = near === null ? "" : `; did you mean ${near}?`;
  throw new SymphonyError(
    "unsupported_tracker_kind",
    `tracker.kind "${kind}" is not supported${meant}`,
    {
      details: { path: "tracker.kind", kind, supported },
      hint: `set tracker.kind to ${either(supported)}`,
    },
  );
}

/** Loads the adapter that a configuration chooses. Rejects with `unsupported_tracker_kind`. */
export async function loadTracker(
  kinds: readonly TrackerKind[],
  { kind }: Pick<TrackerConfig, "kind">,
): Promise<TrackerAdapter> {
  const row = requireTrackerKind(kinds, kind);
  const adapter = await row.load();
  return {
    check(config, lookup) {
      requireOwnSettings(kinds, row, config);
      adapter.check(config, lookup);
    },
    create: (config, deps) => adapter.create(config, deps),
    ...(adapter.projects && { projects: adapter.projects }),
    openIssues: (config, deps) => adapter.openIssues(config, deps),
  };
}

/** A setting that another kind has was meant to narrow what runs: it must not be ignored. */
function requireOwnSettings(
  kinds: readonly TrackerKind[],
  { kind, section }: TrackerKind,
  { provider }: TrackerConfig,
): void {
  for (const key of Object.keys(provider)) {
    if (section.providerKeys.includes(key)) continue;
    const other = kinds.find((row) => row.section.providerKeys.includes(key));
    if (!other) continue;
    const path = `tracker.provider.${key}`;
    const message = `${path} is a setting of ${other.kind}, and tracker.kind is ${kind}`;
    throw new SymphonyError("invalid_tracker_config", message, {
      details: { path },
      hint: `remove it, or set tracker.kind to ${other.kind}`,
    });
  }
}
