import type { CommandEntry } from "./table.ts";

const run = "Run";
const inspect = "Look";
const act = "Act on an issue";
const history = "History and scripts";
const configure = "Configuration";
const disk = "Work on disk";
const integrate = "For integrators";

/**
 * Every command in the order of the help: its name and summary, which `symphony --help` prints without loading a
 * command's file, and the function that loads the rest of its row.
 */
export const catalogue: readonly CommandEntry[] = [
  {
    name: "serve",
    summary: "run the server: poll the tracker, start agents, serve the API",
    group: run,
    load: async () => (await import("./daemon.ts")).serveCommand,
  },
  {
    name: "run",
    summary: "work on one issue to its end, without a server",
    group: run,
    load: async () => (await import("./run.ts")).runCommand,
  },
  {
    name: "demo",
    summary: "run a sample project with a scripted agent; no account, no key",
    group: run,
    load: async () => (await import("./daemon.ts")).demoCommand,
  },
  {
    name: "init",
    summary: "set up a project: find what is there, ask, write WORKFLOW.md",
    group: run,
    load: async () => (await import("./init.ts")).initCommand,
  },
  {
    name: "doctor",
    summary: "check what a start and a run need, and say what mends it",
    group: run,
    load: async () => (await import("./doctor.ts")).doctorCommand,
  },
  {
    name: "service",
    summary: "run the server as a service: install, status, uninstall, print",
    group: run,
    load: async () => (await import("./service.ts")).serviceCommand,
  },
  {
    name: "worker",
    summary: "make this machine a worker of a fleet",
    group: run,
    load: async () => (await import("./worker.ts")).workerCommand,
  },
  {
    name: "workers",
    summary: "the machines of the fleet: invite, list, cordon, drain, remove",
    group: run,
    load: async () => (await import("./workers.ts")).workersCommand,
  },
  {
    name: "state",
    summary: "show what is queued, running, waiting and done",
    group: inspect,
    load: async () => (await import("./state.ts")).stateCommand,
  },
  {
    name: "watch",
    summary: "full-screen view of every issue, with keys to answer and steer",
    group: inspect,
    load: async () => (await import("./watch.ts")).watchCommand,
  },
  {
    name: "explain",
    summary: "say why an issue does or does not run",
    group: inspect,
    load: async () => (await import("./act.ts")).explainCommand,
  },
  {
    name: "runtime",
    summary: "show the running server: version, directories, tracker, agent",
    group: inspect,
    load: async () => (await import("./system.ts")).runtimeCommand,
  },
  {
    name: "metrics",
    summary: "print the server's metrics in the Prometheus text format",
    group: inspect,
    load: async () => (await import("./system.ts")).metricsCommand,
  },
  {
    name: "inbox",
    summary: "everything that needs a person, and the command that answers",
    group: inspect,
    load: async () => (await import("./act.ts")).inboxCommand,
  },
  {
    name: "models",
    summary: "list the models of the configured provider",
    group: inspect,
    load: async () => (await import("./system.ts")).modelsCommand,
  },
  {
    name: "refresh",
    summary: "poll the tracker and reconcile now",
    group: inspect,
    load: async () => (await import("./system.ts")).refreshCommand,
  },
  {
    name: "pause",
    summary: "start no new work until it is resumed; running agents continue",
    group: act,
    load: async () => (await import("./system.ts")).pauseCommand,
  },
  {
    name: "resume",
    summary: "start new work again after a pause",
    group: act,
    load: async () => (await import("./system.ts")).resumeCommand,
  },
  {
    name: "issue",
    summary: "show, list, create, edit, move, comment on and close issues",
    group: act,
    load: async () => (await import("./issue.ts")).issueCommand,
  },
  {
    name: "steer",
    summary: "send guidance to a running agent",
    group: act,
    load: async () => (await import("./act.ts")).steerCommand,
  },
  {
    name: "respond",
    summary: "answer what an agent waits for: an approval or a question",
    group: act,
    load: async () => (await import("./act.ts")).respondCommand,
  },
  {
    name: "model",
    summary: "choose the model for an issue, from its next turn on",
    group: act,
    load: async () => (await import("./choice.ts")).modelCommand,
  },
  {
    name: "move",
    summary: "run an issue on another worker of the fleet, with its work",
    group: act,
    load: async () => (await import("./choice.ts")).moveCommand,
  },
  {
    name: "abort",
    summary: "stop the running attempt and hold the issue",
    group: act,
    load: async () => (await import("./act.ts")).abortCommand,
  },
  {
    name: "transition",
    summary: "move an issue to a status or to a state of the tracker",
    group: act,
    load: async () => (await import("./act.ts")).transitionCommand,
  },
  {
    name: "attach",
    summary: "work in an issue's workspace yourself, then hand it back",
    group: act,
    load: async () => (await import("./attach.ts")).attachCommand,
  },
  {
    name: "template",
    summary: "choose the prompt template of an issue, or clear the choice",
    group: act,
    load: async () => (await import("./choice.ts")).templateCommand,
  },
  {
    name: "attempts",
    summary: "list the attempts of an issue, newest first",
    group: history,
    load: async () => (await import("./history.ts")).attemptsCommand,
  },
  {
    name: "attempt",
    summary: "show one attempt with its timeline",
    group: history,
    load: async () => (await import("./history.ts")).attemptCommand,
  },
  {
    name: "events",
    summary: "print events, past ones or as they happen",
    group: history,
    load: async () => (await import("./events.ts")).eventsCommand,
  },
  {
    name: "usage",
    summary: "tokens and their cost by issue, attempt, model, agent or day",
    group: history,
    load: async () => (await import("./history.ts")).usageCommand,
  },
  {
    name: "audit",
    summary: "list who did what, newest first; verify that the log is whole",
    group: history,
    load: async () => (await import("./audit.ts")).auditCommand,
  },
  {
    name: "repro",
    summary: "write the decisions about an issue to a file, to report a fault",
    group: history,
    load: async () => (await import("./repro.ts")).reproCommand,
  },
  {
    name: "replay",
    summary: "decide again what a file of repro holds, and say what differs",
    group: history,
    load: async () => (await import("./replay.ts")).replayCommand,
  },
  {
    name: "backtest",
    summary: "make the recorded decisions again under another workflow file",
    group: history,
    load: async () => (await import("./replay.ts")).backtestCommand,
  },
  {
    name: "wait",
    summary: "wait until an issue reaches a status",
    group: history,
    load: async () => (await import("./events.ts")).waitCommand,
  },
  {
    name: "templates",
    summary: "list, show, preview, write and delete prompt templates",
    group: configure,
    load: async () => (await import("./templates.ts")).templatesCommand,
  },
  {
    name: "workspaces",
    summary: "list the directories that agents work in; remove one",
    group: disk,
    load: async () => (await import("./workspaces.ts")).workspacesCommand,
  },
  {
    name: "git",
    summary: "show the repositories in the workspaces, and their branches",
    group: disk,
    load: async () => (await import("./git.ts")).gitCommand,
  },
  {
    name: "conflicts",
    summary: "list live branches that change the same files, with the lines",
    group: disk,
    load: async () => (await import("./conflicts.ts")).conflictsCommand,
  },
  {
    name: "diff",
    summary: "show the work in an issue's workspace, also after it has ended",
    group: disk,
    load: async () => (await import("./git.ts")).diffCommand,
  },
  {
    name: "deliver",
    summary: "try refused steps of a delivery again, read its pull request",
    group: disk,
    load: async () => (await import("./deliver.ts")).deliverCommand,
  },
  {
    name: "open",
    summary: "print where an issue's work is, and open it in a browser",
    group: disk,
    load: async () => (await import("./deliver.ts")).openCommand,
  },
  {
    name: "backup",
    summary: "copy the project's records into one file, also while it runs",
    group: disk,
    load: async () => (await import("./backup.ts")).backupCommand,
  },
  {
    name: "restore",
    summary: "put the records of a backup in place, while no server runs",
    group: disk,
    load: async () => (await import("./backup.ts")).restoreCommand,
  },
  {
    name: "config",
    summary: "show the configuration, and change it without a restart",
    group: configure,
    load: async () => (await import("./config.ts")).configCommand,
  },
  {
    name: "secrets",
    summary: "store and remove values that the configuration names as $NAME",
    group: configure,
    load: async () => (await import("./secrets.ts")).secretsCommand,
  },
  {
    name: "tokens",
    summary: "tokens with a name and a role: list, add, remove",
    group: configure,
    load: async () => (await import("./tokens.ts")).tokensCommand,
  },
  {
    name: "notify",
    summary: "messages to people: list the rules, send a test through each",
    group: configure,
    load: async () => (await import("./notify.ts")).notifyCommand,
  },
  {
    name: "webhook",
    summary: "send a signed sample delivery to the server",
    group: integrate,
    load: async () => (await import("./webhook.ts")).webhookCommand,
  },
  {
    name: "api",
    summary: "call any route of the API",
    group: integrate,
    load: async () => (await import("./api.ts")).apiCommand,
  },
  {
    name: "openapi",
    summary: "print the API's OpenAPI document",
    group: integrate,
    load: async () => (await import("./api.ts")).openapiCommand,
  },
  {
    name: "mcp",
    summary: "offer the API to your own MCP client; read-only without --write",
    group: integrate,
    load: async () => (await import("./mcp.ts")).mcpCommand,
  },
  {
    name: "completion",
    summary: "print a script that completes commands in bash, zsh or fish",
    group: integrate,
    load: async () => (await import("./completion.ts")).completionCommand(catalogue),
  },
  {
    name: "help",
    summary: "explain a command, the exit codes or the options of all",
    group: integrate,
    load: async () => (await import("./help.ts")).helpCommand(catalogue),
  },
];
