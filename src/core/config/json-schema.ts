import { z } from "zod";
import { either } from "./agents.ts";
import type { Sections } from "./sections.ts";

type Json = Record<string, unknown>;

const meanings: Readonly<Record<string, string>> = {
  "tracker.provider":
    "Settings of that tracker; $NAME is resolved from the secrets, then from the environment",
  "tracker.required_labels": "Only issues with all of these labels are worked on",
  "tracker.labels": "Which labels an issue must have, in addition to `required_labels`",
  "tracker.labels.any": "It must have one of these",
  "tracker.labels.all": "It must have all of these",
  "tracker.labels.exclude": "It must have none of these",
  "tracker.active_states": "States whose issues are worked on",
  "tracker.blocker_states":
    "Active states in which an issue with an open blocker does not run; default: those of type triage, backlog or unstarted; without types, the first of active_states",
  "tracker.terminal_states": "States that end the work",
  "tracker.comment_steering":
    "Which comments on a running issue become guidance for its agent: off, mention or all",
  "tracker.command_prefix":
    "The word that begins a command in a comment, such as /symphony retry; read unless comment_steering is off",
  "tracker.comment_mention": "The word that makes a comment a mention",
  "tracker.updates":
    "What symphony writes to the tracker by itself: none, state (the moves of in_progress, on_success and on_merged, and links), or all (also one comment for each issue, kept up to date)",
  "tracker.comment": "What that comment says in addition",
  "tracker.comment.cost": "How many tokens were used",
  "tracker.in_progress":
    "State that an issue is moved to when its agent starts; default: it is not moved",
  "tracker.on_success":
    "After a turn that ended well and changed something: a tracker state to move the issue to, hold, or none (the agent continues); default: In Review, Human Review or Review if the team has one, none without delivery",
  "tracker.on_merged":
    "State for an issue whose pull request was merged; default: the team's state for done work",
  "polling.interval_ms":
    "Time between two polls of the tracker, ms; each kind of tracker has its minimum",
  "workspace.root": "The directory that holds one directory for each issue",
  "workspace.keep_max":
    "Largest copy of the work in a workspace that is removed, bytes or such as 2GiB; 0: no copies, such a workspace stays",
  "workspace.retention": "When kept copies and idle workspaces are removed; default: never",
  "workspace.retention.max_age": "Age after which they are removed, ms or such as 30d",
  "workspace.retention.max_total":
    "Size of all of them together, above which the oldest are removed, bytes or such as 50GiB",
  "hooks.after_create": "Shell script, run once in each new workspace",
  "hooks.before_run": "Shell script, run before each attempt",
  "hooks.after_run": "Shell script, run after each attempt with any outcome",
  "hooks.before_remove": "Shell script, run before a workspace is deleted",
  "hooks.timeout_ms": "Longest time for one hook, ms",
  "git.repositories":
    "Repositories to clone new workspaces from; the first whose match fits the issue is used",
  "git.timeout_ms": "Longest time for one clone with its checkout, ms",
  "delivery.mode":
    "How work reaches its person: none, branch (pushed) or pull_request; default: branch for issues with a repository of git.repositories",
  "delivery.draft": "Open pull requests as drafts",
  "delivery.title_template": "Title of pull requests; can use issue and work",
  "delivery.body_template": "Body of pull requests; can use issue and work",
  "delivery.commit_template": "Message of commits; can use issue and work",
  "delivery.author": "Name and email of commits; default: as git is configured on this machine",
  "delivery.sign_commits":
    "Whether commits are signed by the gpg or ssh key that your git configuration names",
  "delivery.max_file": "Largest file that is pushed, in bytes or as 10 MiB",
  "delivery.allow_workflows": "Whether changes below .github/workflows are offered",
  "delivery.allow_submodules": "Whether changed submodules are offered",
  "delivery.sign_off": "Whether commits of symphony end with `Signed-off-by:` and their author",
  "delivery.allow_lfs": "Whether files of git LFS are offered",
  "delivery.checks": "Commands that must succeed on the commit before it is offered",
  "delivery.checks_timeout_ms": "Longest time for each of them, ms",
  "delivery.regenerate":
    'Commands that write generated files again after a merge of the base, such as {"package-lock.json": "npm install --package-lock-only"}',
  "delivery.max_rounds":
    "Rounds of feedback without a word of a person after which the issue is held",
  "delivery.feedback_from": "Logins of bots whose comments count as feedback",
  "delivery.merge": "Whether symphony merges: never or when_approved",
  "delivery.merge_without_checks":
    "Whether symphony merges a pull request that has no checks at all",
  "delivery.merge_method": "merge, squash or rebase",
  "delivery.conflicts": "What conflicts between live branches do: warn, hold or order",
  "delivery.poll_interval_ms": "Time between two reads of an open pull request, ms",
  "delivery.github":
    "GitHub, or a GitHub Enterprise Server: base_url, and token (default $GITHUB_TOKEN) or app {id, installation_id, private_key}; webhook_secret (default $GITHUB_WEBHOOK_SECRET)",
  agents:
    'Agents by name, such as {"local": {"kind": "openai", "model": "qwen3", "provider": {"base_url": "http://127.0.0.1:11434/v1"}}}; `provider` has the keys of the section of that kind',
  "agent.use": "The agent that runs by default: a name in `agents`, or a kind; default: agent.kind",
  "agent.fallback":
    "Agents in order of preference, such as [claude, codex, local]: while one takes no turns, waiting issues start with the next one after it",
  "agent.handover":
    "Whether the next agent also continues work that another one has begun; it gets a record of that work",
  "agent.model":
    "Model of every agent without its own in `agents`; default: that of the section of its kind",
  "agent.reasoning_effort": "Such as low, medium or high; default: the agent's own",
  "agent.by_state":
    'Another agent (use) or model by tracker state, such as {"Rework": {"use": "claude"}}',
  "agent.by_label": "The same by label; a label takes precedence over a state",
  "agent.level":
    "What the agent's commands may access: safe (the workspace), networked (and the network) or danger (everything)",
  "agent.network":
    "Hosts that level networked reaches next to the model provider: names, *.suffix, addresses, networks; default: all",
  "agent.readable":
    "Paths that an agent of any kind may read in addition to the system, what is on PATH, and toolchains and caches in the home",
  "agent.approvals":
    "How an agent's request for approval is answered: auto (granted), ask (by a person) or decline",
  "agent.approval_timeout_ms":
    "How long an approval or a question waits for a person before the run ends, ms; 0: no wait",
  "agent.silence_timeout_ms":
    "Silence after which an attempt is tried again, ms; 0 or less: never; default: codex.stall_timeout_ms",
  "agent.max_concurrent_agents": "Maximum number of attempts at the same time",
  "agent.active_hours":
    'When new attempts may start, such as {"days": "mon-fri", "from": "09:00", "to": "18:00", "tz": "Europe/Berlin"}; default: always',
  "agent.max_concurrent_agents_by_state": 'Further limits by tracker state, such as {"Rework": 1}',
  "agent.max_processes":
    "Processes of one attempt at the same time; more of them end it; 0: no limit",
  "agent.max_memory":
    "Memory of one attempt, such as 8GiB; more of it ends it; default: half of the machine's; 0: no limit",
  "agent.max_file_size": "Largest file that an agent may write, such as 10GiB; 0: no limit",
  "agent.max_turns": "Maximum number of turns in one attempt",
  "agent.max_retries": "Failures in a row before an issue is failed; null: no limit",
  "agent.max_retry_backoff_ms": "Longest wait before a retry, ms",
  "brakes.tokens_per_issue": "Tokens after which an issue is held; 0: no limit",
  "brakes.tokens_per_day":
    "Tokens of all issues in a day (UTC) after which no work starts; 0: no limit",
  "brakes.turns_without_progress":
    "Turns in a row without a change in the workspace or the issue after which it is held; 0: no limit",
  "brakes.attempt_timeout_ms": "Longest time for one attempt, ms; 0: no limit",
  "usage.currency": "Currency of the prices",
  "usage.prices":
    'By model, per million tokens, such as {"gpt-5.5": {"input": 1.25, "cached_input": 0.125, "output": 10}}',
  notify:
    'Which occasions are reported where, such as [{"when": ["needs", "failed"], "to": "slack", "url": "$SLACK_WEBHOOK_URL"}]',
  "notify.name":
    "Name of the rule; default: the kind of receiver, with a number from the second one on",
  "notify.when":
    "needs (an agent waits for a person), failed, held, done, delivered (a branch or a pull request), budget (the tokens of the day or of an issue are used up), stopped (new work waits for the tracker, a provider, the disk or the host)",
  "notify.to": "The kind of receiver: slack, discord, webhook, desktop or command",
  "notify.url": "Address of a slack, discord or webhook receiver, as the name of a secret",
  "notify.secret": "Secret that a webhook is signed with, as its name; default: it is not signed",
  "notify.command":
    "Program of a command receiver and its arguments; it gets the notice by stdin and in SYMPHONY_NOTICE_* variables",
  "notify.detail": "brief (titles and reasons) or full (also what was asked, and numbers)",
  "notify.quiet_hours":
    'When notices wait and are then sent as one, such as {"from": "20:00", "to": "08:00", "tz": "Europe/Berlin"}',
  "notify.batch_ms":
    "How long occasions are collected for one message, ms; what needs a person is sent within 5 s",
  "history.retention_days": "Days after which attempts and events are removed; null: never",
  "storage.min_free":
    "Space that must be free on the disks of the data directory and the workspaces for new work, such as 2GiB or 5%; default: the smaller of 1GiB and 5%; 0: no limit",
  "host.min_memory": "Memory that must be available for new work, such as 1GiB; 0: no limit",
  "host.max_load":
    "Highest load average of five minutes for each CPU at which new work starts; 0: no limit",
  "fleet.url":
    "Attempts run on workers: the engine between this server and them, redis://host:port, postgres://user@host/database, or $NAME of a secret that holds such a URL; default: attempts run on this machine; a change needs a restart",
  "fleet.labels": "Labels that a worker must have to get attempts of this project",
  "fleet.max_copy":
    "Largest copy of a workspace that goes to a worker or comes back, bytes or such as 256MiB",
  "fleet.prepare":
    "Shell script, run in each new copy of a workspace on a worker, such as npm ci; what git ignores does not travel",
  "fleet.lease_ms":
    "How long a worker may run agents after its last renewal with the engine, 5000 to 300000; a lost one is known after that; a change needs a restart",
  "worker.ssh_hosts":
    "Attempts run on these hosts by ssh, such as build-1 or me@host:2222; default: on this machine",
  "worker.max_concurrent_agents_per_host":
    "Attempts at the same time on each host of worker.ssh_hosts; default: agent.max_concurrent_agents",
  "server.host": "Address to listen on; a change needs a restart",
  "server.port": "0 to 65535, 0 for any free port; a change needs a restart",
  "server.allowed_hosts": "Additional names allowed in a request's Host header",
  "server.auth": "none or token; a change needs a restart",
  "server.rate_limit": "Requests a minute for each client outside this machine; null: no limit",
  "server.public_url":
    "Where people reach the page, for links in notices; default: the address on which it listens",
};

/** The written configuration as a JSON Schema (2020-12), with a description of each key, and examples that validate. */
export function configSchema(sections: Sections): Json {
  const { trackers, agents } = sections;
  const schema = z.toJSONSchema(sections.schema, { target: "draft-2020-12", io: "input" });
  const ofAgents = agents.flatMap(({ kind, section }) =>
    Object.entries(section.meanings).map(([key, meaning]) => [`${kind}.${key}`, meaning] as const),
  );
  const all = [
    ...Object.entries(meanings),
    ["tracker.kind", `Where issues come from: ${either(trackers.map(({ kind }) => kind))}`],
    ["agent.kind", `Which kind of agent runs: ${either(agents.map(({ kind }) => kind))}`],
    ...ofAgents,
  ] as const;
  for (const [path, description] of all) {
    const node = path.split(".").reduce<Json | undefined>(below, schema as Json);
    if (node) node["description"] = description;
  }
  return {
    ...schema,
    properties: { ...ofFiles, ...(schema["properties"] as Json) },
    title: "symphony configuration",
    examples: examplesOf(sections),
  };
}

/** The keys that only workflow files have. */
const ofFiles: Json = {
  base_config: {
    type: "string",
    description:
      "Another workflow file that this one is based on, relative to this file: maps are merged, lists replaced, the nearer prompt is used",
  },
  prompts: {
    type: "object",
    additionalProperties: { type: "string" },
    description:
      'Files with the prompts of tracker states, relative to this file, such as {"Review": "review.md"}',
  },
};

/** One example for each kind of tracker, and one for each kind of agent. */
function examplesOf({ trackers, agents }: Sections): readonly Json[] {
  const ofTrackers = trackers.map(({ kind, section }) => ({ kind, ...section.example }));
  const [first] = ofTrackers;
  return [
    ...ofTrackers.map((tracker) => ({ tracker })),
    ...agents.map(({ kind, section }) => ({
      tracker: first,
      ...general,
      agent: { kind, ...general.agent },
      [kind]: section.example,
    })),
  ];
}

const general = {
  polling: { interval_ms: 30_000 },
  hooks: { after_create: "git clone --quiet git@example.com:you/project.git ." },
  agent: {
    max_concurrent_agents: 4,
    max_turns: 5,
    max_concurrent_agents_by_state: { Rework: 1 },
  },
};

function below(node: Json | undefined, key: string): Json | undefined {
  const { properties, items } = (node ?? {}) as Record<string, Record<string, Json> | undefined>;
  const ofEach = items as { properties?: Record<string, Json> } | undefined;
  return properties?.[key] ?? ofEach?.properties?.[key];
}
