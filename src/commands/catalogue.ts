import type { Command } from "commander";
import type { Run } from "./context.ts";

export type Declare = (command: Command, run: Run) => void;

export interface CommandEntry {
  readonly name: string;
  readonly summary: string;
  readonly group: string;
  /** Loads the command's own file, which happens only when it is called or its help is asked for. */
  readonly load: () => Promise<Declare>;
}

const run = "Run";
const look = "Look";
const act = "Act on an issue";
const history = "History and scripts";
const configure = "Configuration";
const disk = "Work on disk";
const integrate = "For integrators";

/** Every command, in the order of the help. */
export const catalogue: readonly CommandEntry[] = [
  {
    name: "serve",
    summary: "run the server: poll the tracker, start agents, serve the API",
    group: run,
    load: async () => (await import("./daemon.ts")).declareServe,
  },
  {
    name: "demo",
    summary: "run the server on a sample project with a scripted agent; no account, no key",
    group: run,
    load: async () => (await import("./daemon.ts")).declareDemo,
  },
  {
    name: "state",
    summary: "show what is queued, running, waiting and done",
    group: look,
    load: async () => (await import("./state.ts")).declareState,
  },
  {
    name: "explain",
    summary: "say why an issue does or does not run",
    group: look,
    load: async () => (await import("./act.ts")).declareExplain,
  },
  {
    name: "runtime",
    summary: "show the running server: version, directories, tracker, agent",
    group: look,
    load: async () => (await import("./system.ts")).declareRuntime,
  },
  {
    name: "metrics",
    summary: "print the server's metrics in the Prometheus text format",
    group: look,
    load: async () => (await import("./system.ts")).declareMetrics,
  },
  {
    name: "inbox",
    summary: "everything that needs a person, with the command that answers it",
    group: look,
    load: async () => (await import("./act.ts")).declareInbox,
  },
  {
    name: "models",
    summary: "list the models of the configured provider",
    group: look,
    load: async () => (await import("./system.ts")).declareModels,
  },
  {
    name: "refresh",
    summary: "poll the tracker and reconcile now",
    group: look,
    load: async () => (await import("./system.ts")).declareRefresh,
  },
  {
    name: "issue",
    summary: "show and list issues; create, edit and close those of the local tracker",
    group: act,
    load: async () => (await import("./issue.ts")).declareIssue,
  },
  {
    name: "steer",
    summary: "send guidance to a running agent",
    group: act,
    load: async () => (await import("./act.ts")).declareSteer,
  },
  {
    name: "respond",
    summary: "answer what an agent waits for: an approval or a question",
    group: act,
    load: async () => (await import("./act.ts")).declareRespond,
  },
  {
    name: "model",
    summary: "choose the model for an issue, from its next turn on",
    group: act,
    load: async () => (await import("./choice.ts")).declareModel,
  },
  {
    name: "abort",
    summary: "stop the running attempt and hold the issue",
    group: act,
    load: async () => (await import("./act.ts")).declareAbort,
  },
  {
    name: "transition",
    summary: "move an issue to a status or to a state of the tracker",
    group: act,
    load: async () => (await import("./act.ts")).declareTransition,
  },
  {
    name: "template",
    summary: "choose the prompt template of an issue, or go back to the workflow's",
    group: act,
    load: async () => (await import("./choice.ts")).declareTemplate,
  },
  {
    name: "attempts",
    summary: "list the attempts of an issue, newest first",
    group: history,
    load: async () => (await import("./history.ts")).declareAttempts,
  },
  {
    name: "attempt",
    summary: "show one attempt with its timeline",
    group: history,
    load: async () => (await import("./history.ts")).declareAttempt,
  },
  {
    name: "events",
    summary: "print events, past ones or as they happen",
    group: history,
    load: async () => (await import("./events.ts")).declareEvents,
  },
  {
    name: "usage",
    summary: "tokens and their cost by issue, attempt, model, agent or day",
    group: history,
    load: async () => (await import("./history.ts")).declareUsage,
  },
  {
    name: "audit",
    summary: "list who did what, newest first; verify that the log is whole",
    group: history,
    load: async () => (await import("./audit.ts")).declareAudit,
  },
  {
    name: "wait",
    summary: "wait until an issue reaches a status",
    group: history,
    load: async () => (await import("./events.ts")).declareWait,
  },
  {
    name: "webhook",
    summary: "send a signed sample delivery to the server",
    group: integrate,
    load: async () => (await import("./webhook.ts")).declareWebhook,
  },
  {
    name: "templates",
    summary: "list, show, write, try and delete prompt templates",
    group: configure,
    load: async () => (await import("./templates.ts")).declareTemplates,
  },
  {
    name: "workspaces",
    summary: "list the directories that agents work in; remove one",
    group: disk,
    load: async () => (await import("./workspaces.ts")).declareWorkspaces,
  },
  {
    name: "git",
    summary: "show the repositories in the workspaces, and how far their branches are",
    group: disk,
    load: async () => (await import("./workspaces.ts")).declareGit,
  },
  {
    name: "diff",
    summary: "show the work in an issue's workspace, also after its end",
    group: disk,
    load: async () => (await import("./workspaces.ts")).declareDiff,
  },
  {
    name: "config",
    summary: "show the configuration, and change it without a restart",
    group: configure,
    load: async () => (await import("./config.ts")).declareConfig,
  },
  {
    name: "secrets",
    summary: "store and remove the values that the configuration names as $NAME",
    group: configure,
    load: async () => (await import("./secrets.ts")).declareSecrets,
  },
  {
    name: "api",
    summary: "call any route of the API",
    group: integrate,
    load: async () => (await import("./api.ts")).declareApi,
  },
  {
    name: "openapi",
    summary: "print the API's OpenAPI document",
    group: integrate,
    load: async () => (await import("./api.ts")).declareOpenapi,
  },
  {
    name: "completion",
    summary: "print a script that completes commands in bash, zsh or fish",
    group: integrate,
    load: async () => (await import("./completion.ts")).declareCompletion,
  },
  {
    name: "help",
    summary: "explain a command, or the exit codes",
    group: integrate,
    load: async () => (await import("./help.ts")).declareHelp,
  },
];

/** The options of every command, as data: the help of the program is printed without loading a parser. */
export const globalOptions: readonly {
  readonly flags: string;
  readonly description: string;
  readonly choices?: readonly string[];
}[] = [
  {
    flags: "--url <url>",
    description:
      "server to talk to (default: SYMPHONY_URL, else the project's own, else http://127.0.0.1:4000)",
  },
  {
    flags: "--data-dir <dir>",
    description:
      "data directory of the project (default: SYMPHONY_DATA_DIR, else .symphony upward from here)",
  },
  { flags: "--json", description: "print one JSON document; streams print one to a line" },
  { flags: "--quiet", description: "print no messages beside the data" },
  { flags: "--debug", description: "print where an error came from" },
  {
    flags: "--color <when>",
    description: "colour the output: auto, always or never (default: auto)",
    choices: ["auto", "always", "never"],
  },
  { flags: "--no-input", description: "never ask; fail where an answer is needed" },
  { flags: "--yes", description: "answer every confirmation with yes" },
  { flags: "-h, --help", description: "print this help" },
  { flags: "-V, --version", description: "print the version" },
];
