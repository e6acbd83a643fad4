import { z } from "zod";
import { writtenSchema } from "./schema.ts";

type Json = Record<string, unknown>;

const meanings: Readonly<Record<string, string>> = {
  "tracker.kind": "Where issues come from: local or linear",
  "tracker.provider":
    "Settings of that tracker; $NAME is looked up in the secrets, then in the environment",
  "tracker.required_labels": "An issue is worked on only if it has all of these",
  "tracker.active_states": "States to work on",
  "tracker.terminal_states": "States that end the work",
  "tracker.comment_steering":
    "Which comments on an issue at work become guidance for its agent: off, mention or all",
  "tracker.comment_mention": "The word that makes a comment a mention",
  "polling.interval_ms": "Time between two looks at the tracker, ms",
  "workspace.root": "The directory that holds one directory for each issue",
  "hooks.after_create": "Shell script, once in each new workspace",
  "hooks.before_run": "Shell script, before each attempt",
  "hooks.after_run": "Shell script, after each attempt, however it ended",
  "hooks.before_remove": "Shell script, before a workspace is deleted",
  "hooks.timeout_ms": "Longest time for one hook, ms",
  "git.repositories":
    "Repositories to clone new workspaces from; the first whose match fits an issue is taken",
  "git.timeout_ms": "Longest time for one clone with its checkout, ms",
  "agent.kind": "Which agent runs: codex, openai, command or acp",
  "agent.model": "Model of every agent; left out, that of the agent's own section",
  "agent.reasoning_effort": "Such as low, medium or high; the agent's own when left out",
  "agent.by_state":
    'Another agent or model by tracker state, such as {"Rework": {"model": "gpt-5.5"}}',
  "agent.by_label": "The same by label; a label wins over a state",
  "agent.level":
    "What the agent's commands may reach: safe (the workspace), networked (and the network) or danger (everything)",
  "agent.approvals":
    "What becomes of a wish of the agent: auto (granted), ask (a person is asked) or decline",
  "agent.approval_timeout_ms":
    "How long an approval or a question waits for a person before the run ends, ms; 0: not at all",
  "agent.max_concurrent_agents": "Attempts at the same time",
  "agent.max_concurrent_agents_by_state": 'Further limits by tracker state, such as {"Rework": 1}',
  "agent.max_turns": "Turns of one attempt",
  "agent.max_retries": "Failures in a row before an issue is failed; null for no end",
  "agent.max_retry_backoff_ms": "Longest wait before a retry, ms",
  "brakes.tokens_per_issue": "Tokens after which an issue is held; 0: no end",
  "brakes.tokens_per_day":
    "Tokens of all issues in a day (UTC) after which nothing starts; 0: no end",
  "brakes.turns_without_progress":
    "Turns in a row without a change in the workspace or the issue after which it is held; 0: no end",
  "brakes.attempt_timeout_ms": "Longest time for one attempt, ms; 0: no end",
  "usage.currency": "What prices are given in",
  "usage.prices":
    'By model, per million tokens, such as {"gpt-5.5": {"input": 1.25, "cached_input": 0.125, "output": 10}}',
  "codex.command": "A shell line, run as it is by bash -lc in the workspace",
  "codex.home":
    "CODEX_HOME of agents: private (one of our own), inherit (the operator's), or a directory",
  "codex.allow_git":
    "Whether agents may write .git of the workspace, its hooks and config excepted",
  "codex.model": "Model of new turns; codex's own when left out",
  "codex.approval_policy": "Text or map, sent to codex as it is",
  "codex.thread_sandbox": "Sent to codex as it is",
  "codex.turn_sandbox_policy": "Map, sent to codex with each turn as it is",
  "codex.turn_timeout_ms": "Longest silence in a turn, ms",
  "codex.read_timeout_ms": "Longest wait for one answer of the protocol, ms",
  "codex.stall_timeout_ms": "Silence after which an attempt is tried again, ms; 0 or less: never",
  "codex.env_passthrough": "Environment variables that agents and hooks may see",
  "codex.process": "per_issue, or shared: turns outlive a restart of the server",
  "codex.threads_per_process": "Issues that one shared process holds at most",
  "codex.orphan_limit_ms": "How long a shared process lives on without its server, ms",
  "command.line": "A shell line, run by bash -lc in the workspace for each turn",
  "command.resume_line": "The line for a turn that goes on with the session $SYMPHONY_SESSION",
  "command.prompt": "stdin, or file: its path is in $SYMPHONY_PROMPT_FILE",
  "command.output": "What the program writes: text, jsonl, claude, gemini or codex",
  "command.model": "Handed on as $SYMPHONY_MODEL",
  "command.turn_timeout_ms": "Longest silence in a turn, ms",
  "command.exit_grace_ms": "How long the program may live on after it told its result, ms",
  "command.writable_paths": "Paths the program may write beside its workspace",
  "command.env_passthrough": "Environment variables that the program may see",
  "acp.command": "A shell line that starts an agent of the Agent Client Protocol",
  "acp.model": "Model asked of the agent; its own when left out",
  "acp.auth_method": "Which of the agent's ways to log in is used, by its id",
  "acp.read_timeout_ms": "Longest wait for one answer of the protocol, ms",
  "acp.turn_timeout_ms": "Longest silence in a turn, ms",
  "acp.writable_paths": "Paths the agent may write beside its workspace",
  "acp.env_passthrough": "Environment variables that the agent may see",
  "openai.base_url": "Where the models are: https, or http on this machine",
  "openai.api_key": "$NAME is looked up in the secrets, then in the environment, at each request",
  "openai.model": "Model of the built-in agent",
  "openai.api": "responses, chat (Chat Completions) or auto: responses where the provider has it",
  "openai.context_tokens":
    "What the model can hold; the conversation is shortened before it is full",
  "openai.max_output_tokens": "Longest answer; 0: left to the model",
  "openai.max_requests_per_turn": "Requests to the model after which a turn has failed",
  "openai.max_retries": "How often one request is tried again after a failure that may pass",
  "openai.request_timeout_ms":
    "Longest silence of the provider, ms; then the request is tried again",
  "openai.command_timeout_ms": "Longest time for one command, ms",
  "openai.command_output_bytes": "Output of a command the model sees: the beginning and the end",
  "openai.command_file_bytes": "Largest file a command may write",
  "openai.command_processes": "Most processes of one attempt at a time",
  "openai.readable_paths":
    "Directories that commands may read beside the system's, such as /home/me/.cargo",
  "openai.env_passthrough": "Environment variables that commands may see",
  "history.retention_days": "Days after which attempts and events are removed; null: never",
  "server.host": "Address to listen on; a change needs a restart",
  "server.port": "0 to 65535, 0 for any free port; a change needs a restart",
  "server.allowed_hosts": "Further names that a request's Host may have",
  "server.auth": "none or token; a change needs a restart",
  "server.rate_limit": "Requests a minute for each client beyond this machine; null for no end",
};

const examples: readonly Json[] = [
  { tracker: { kind: "local" } },
  {
    tracker: {
      kind: "linear",
      provider: { api_key: "$LINEAR_API_KEY", project_slug: "a79254768c8f" },
      required_labels: ["agent"],
    },
    polling: { interval_ms: 30_000 },
    hooks: { after_create: "git clone --quiet git@example.com:you/project.git ." },
    agent: {
      max_concurrent_agents: 4,
      max_turns: 5,
      max_concurrent_agents_by_state: { Rework: 1 },
    },
    codex: { thread_sandbox: "workspace-write", env_passthrough: ["CI"] },
  },
];

/** The written configuration as a JSON Schema (2020-12), each key with what it means, and examples that validate. */
export function configSchema(): Json {
  const schema = z.toJSONSchema(writtenSchema, { target: "draft-2020-12", io: "input" });
  for (const [path, description] of Object.entries(meanings)) {
    const node = path.split(".").reduce<Json | undefined>(below, schema as Json);
    if (node) node["description"] = description;
  }
  return { ...schema, title: "symphony configuration", examples };
}

function below(node: Json | undefined, key: string): Json | undefined {
  const { properties } = (node ?? {}) as { properties?: Record<string, Json> };
  return properties?.[key];
}
