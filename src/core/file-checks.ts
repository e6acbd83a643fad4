import type { CheckedFile, FileCheck } from "./config/check.ts";
import {
  agentsInUse,
  type Config,
  checkLevel,
  kindOf,
  settingsOf,
  type TrackerConfig,
} from "./config/config.ts";
import { type Problem, problemsOf } from "./config/finding.ts";
import { SymphonyError } from "./model/errors.ts";
import { noticeProblems } from "./notify/checks.ts";
import { syntaxFault } from "./process/shell-syntax.ts";
import { templateFaults } from "./prompt/prompt.ts";
import { deliveryVariables, promptVariables, type ShapeMap } from "./prompt/variables.ts";
import { learnTracker } from "./secrets/learn.ts";
import type { Redactor } from "./text/redact.ts";

interface FileCheckDeps {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly redactor: Pick<Redactor, "add">;
  lookup(name: string): string | undefined;
  /** Rejects with the fault of the tracker's settings; sends no request. */
  checkTracker(config: TrackerConfig): Promise<void>;
}

/**
 * The checks of a workflow file that need other parts than the configuration. None sends a request or depends on what is
 * installed, so each can refuse the file.
 */
export function fileChecks(deps: FileCheckDeps): readonly FileCheck[] {
  const { env, lookup, redactor } = deps;
  return [
    // Before anything is shown: a value at fault may be next to a credential.
    ({ config }) => learnTracker(config.tracker, lookup, redactor),
    ({ config }) => checkLevel(config, env),
    async ({ config, isFaulty }) => {
      if (isFaulty("tracker.kind")) return [];
      try {
        await deps.checkTracker(config.tracker);
        return [];
      } catch (error) {
        if (!(error instanceof SymphonyError)) throw error;
        return problemsOf(error).map((one) => withUnset(one, config.tracker, lookup));
      }
    },
    async ({ config, isFaulty }) =>
      isFaulty("notify") ? [] : noticeProblems(config.notify, { lookup, redactor }),
    (file) => shellProblems(file, env),
    templateProblems,
    async ({ config, isFaulty }) => (isFaulty("fleet") ? [] : fleetProblems(config)),
    async ({ config, isFaulty }) => (isFaulty("worker") ? [] : sshProblems(config)),
  ];
}

/** Workspaces that cannot go to a worker: each attempt in one would fail, and spend a retry. */
function fleetProblems({ fleet, git, hooks }: Config): readonly Problem[] {
  if (fleet.url === null) return [];
  const { repositories } = git;
  if (repositories.length === 0 && hooks.afterCreate === null && hooks.beforeRun === null) {
    const message =
      "with fleet.url a workspace goes to a worker as a git bundle, and nothing here makes it a git repository";
    const next = "name one in git.repositories, or clone it in hooks.after_create";
    return [{ path: "fleet.url", message, next }];
  }
  return uncopiedProblems(git, "fleet.url");
}

/** What can run on the hosts of `worker.ssh_hosts`: a program that needs nothing of this machine but its stdin. */
function sshProblems(config: Config): readonly Problem[] {
  const { worker, fleet, agent, git } = config;
  const path = "worker.ssh_hosts";
  if (worker.sshHosts.length === 0) return [];
  if (fleet.url !== null)
    return [{ path, message: `${path} and fleet.url exclude each other`, next: "remove one" }];
  const agents = agentsInUse(config).flatMap((name): Problem[] => {
    const kind = kindOf(config, name);
    const { process, prompt }: { process?: unknown; prompt?: unknown } = settingsOf(config, name);
    const fault = (what: string, next: string) => [{ path, message: `${name} ${what}`, next }];
    const on = "cannot run on a host of worker.ssh_hosts";
    if (kind !== "codex" && kind !== "command")
      return fault(`is of kind ${kind}, which ${on}`, "use codex or command");
    if (process === "shared")
      return fault(`has process: shared, which ${on}`, `${name}.process: per_issue`);
    if (prompt === "file") return fault(`has prompt: file, which ${on}`, `${name}.prompt: stdin`);
    if (kind === "command" && agent.level !== "danger")
      return fault(
        `is of kind command, and symphony's sandbox does not exist on a host of worker.ssh_hosts: at agent.level ${agent.level} it ${on}`,
        "use codex, which has a sandbox of its own, or agent.level: danger on hosts made for it",
      );
    return [];
  });
  return [...agents, ...uncopiedProblems(git, path)];
}

/** Workspaces that no git bundle can hold. */
function uncopiedProblems({ repositories }: Config["git"], by: string): readonly Problem[] {
  return repositories.flatMap(({ name, sparse, submodules, depth }) => {
    const faults: readonly (readonly [string, boolean, string, Problem["severity"]])[] = [
      ["sparse", sparse.length > 0, "is checked out in part", "error"],
      ["submodules", submodules, "may have a submodule", "warning"],
      ["depth", depth !== null, "may be a shallow clone", "warning"],
    ];
    return faults.flatMap(([key, isSet, what, severity = "error"]) => {
      const message = `a workspace of ${name} ${what}, and such a one cannot go to a worker of ${by}: its attempts would fail`;
      const next = `remove ${key}, or serve without ${by}`;
      return isSet ? [{ path: `git.repositories.${name}.${key}`, message, severity, next }] : [];
    });
  });
}

/** The syntax of every template of the file, their filters, and their names against the variables that there are. */
async function templateProblems(file: CheckedFile): Promise<readonly Problem[]> {
  const { promptTemplate, prompts, config, isFaulty } = file;
  const { titleTemplate, bodyTemplate, commitTemplate } = config.delivery;
  const texts: readonly (readonly [string, string | null, ShapeMap])[] = [
    ["prompt", promptTemplate, promptVariables],
    ...[...prompts].map(
      ([state, { text }]) => [`prompts.${state}`, text, promptVariables] as const,
    ),
    ["delivery.title_template", titleTemplate, deliveryVariables],
    ["delivery.body_template", bodyTemplate, deliveryVariables],
    ["delivery.commit_template", commitTemplate, deliveryVariables],
  ];
  const found = texts
    .filter(([path]) => !isFaulty(path))
    .map(async ([path, text, variables]) => {
      const faults = text === null ? [] : await templateFaults(text, variables);
      return faults.map(({ code, line, column, message }) => ({
        ...{ path, code, message: `${path}: ${message}`, within: { line, column } },
      }));
    });
  return (await Promise.all(found)).flat();
}

/** A text of the configuration that a shell reads. */
interface Script {
  readonly path: string;
  readonly text: string | null | undefined;
  readonly shell: "sh" | "bash";
}

async function shellProblems(
  { config, isFaulty }: CheckedFile,
  env: FileCheckDeps["env"],
): Promise<readonly Problem[]> {
  const scripts = scriptsOf(config).filter(({ path }) => !isFaulty(path));
  const found = await Promise.all(
    scripts.map(async ({ path, text, shell }): Promise<readonly Problem[]> => {
      if (typeof text !== "string" || text.trim() === "") return [];
      const fault = await syntaxFault(shell, text, env);
      if (fault === null) return [];
      const message = `${path} is not valid ${shell}: ${fault.message}`;
      return [{ path, message, within: { line: fault.line, column: null } }];
    }),
  );
  return found.flat();
}

/** Each with the shell that runs it. */
function scriptsOf({ hooks, delivery, codex, command, acp, agents }: Config): readonly Script[] {
  const sh = (path: string, text: Script["text"]): Script => ({ path, text, shell: "sh" });
  const bash = (path: string, text: Script["text"]): Script => ({ path, text, shell: "bash" });
  return [
    sh("hooks.after_create", hooks.afterCreate),
    sh("hooks.before_run", hooks.beforeRun),
    sh("hooks.after_run", hooks.afterRun),
    sh("hooks.before_remove", hooks.beforeRemove),
    bash("codex.command", codex?.command),
    bash("command.line", command?.line),
    bash("command.resume_line", command?.resumeLine),
    bash("acp.command", acp?.command),
    ...[...agents].flatMap(([name, { settings }]) =>
      (["command", "line", "resumeLine"] as const).map((key) => {
        const written: unknown = Reflect.get(settings, key);
        const path = `agents.${name}.provider.${key === "resumeLine" ? "resume_line" : key}`;
        return bash(path, typeof written === "string" ? written : null);
      }),
    ),
    ...delivery.checks.map((text, at) => bash(`delivery.checks.${at}`, text)),
    ...Object.entries(delivery.regenerate).map(([key, text]) =>
      bash(`delivery.regenerate.${key}`, text),
    ),
  ];
}

/** Adds that the variable which a setting names is not set: the setting then counts as missing. */
function withUnset(
  problem: Problem,
  { provider }: TrackerConfig,
  lookup: FileCheckDeps["lookup"],
): Problem {
  const [, key = ""] = /^tracker\.provider\.(.+)$/.exec(problem.path) ?? [];
  const written = provider[key];
  const name = typeof written === "string" ? /^\$([A-Za-z_]\w*)$/.exec(written.trim())?.[1] : null;
  if (name == null || lookup(name)) return problem;
  const { message: said } = problem;
  const message = said.endsWith("is not set") ? said : `${said}: ${name} is not set`;
  return { ...problem, message, next: `symphony secrets add ${name}, or export ${name}` };
}
