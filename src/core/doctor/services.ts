import { systemClock } from "../clock.ts";
import type { Effective } from "../config/check.ts";
import { secretNamesOf } from "../config/config.ts";
import type { DeliveryConfig } from "../config/delivery.ts";
import type { RepositoryConfig } from "../config/git.ts";
import type { Forge } from "../delivery/forge.ts";
import { forgeKinds, openForge } from "../delivery/kinds.ts";
import { siteProblems, trialOrder, trialPush } from "../delivery/reachable.ts";
import { kinds } from "../kinds.ts";
import { trackerProblems } from "../machine-checks.ts";
import { SymphonyError } from "../model/errors.ts";
import { runIdOf } from "../process/table.ts";
import { GitFailure, operatorIdentity, runGit } from "../repository/git.ts";
import { RemoteFailure, readRemote } from "../repository/push.ts";
import { loadTracker } from "../tracker/kinds.ts";
import type { Tracker } from "../tracker/tracker.ts";
import { type Holding, polledBy } from "./data-checks.ts";
import { inTime } from "./in-time.ts";
import type { Project } from "./project.ts";
import { type Answer, fail, failure, notAsked, ok, warn, worst } from "./result.ts";

/** null where the tracker's settings have a fault: that is the answer of `workflow`. */
export async function openTracker(project: Project): Promise<Tracker | null> {
  const { checked, findings, dataDir, lookup, env, workflowPath } = project;
  const isFaulty = findings.some(
    ({ severity, path }) => severity === "error" && /^tracker\b/.test(path),
  );
  if (checked === null || isFaulty) return null;
  const { tracker } = checked.effective.config;
  const adapter = await loadTracker(kinds.trackers, tracker);
  const clock = systemClock;
  return adapter.create(tracker, { dataDir, clock, lookup, env, workflowPath });
}

export function checkWorkflow(project: Project): Answer {
  const { workflowFault, checked, findings, workflowPath } = project;
  if (workflowFault?.details["reason"] === "ENOENT") {
    return fail(workflowFault.code, `there is no workflow file ${workflowPath}`, "symphony init");
  }
  if (workflowFault !== null) return failure(workflowFault);
  if (checked === null) return notAsked("secrets or the overlay cannot be read");
  const warnings = findings.map(({ message, next }) =>
    warn(message, next ?? `symphony config check ${workflowPath}`),
  );
  return warnings.length > 0 ? worst(warnings) : ok(`${workflowPath}: nothing is wrong`);
}

const trackerMs = 15_000;

/** The query of a poll, and the names of the configuration that the tracker must know. */
export async function checkTracker(
  tracker: Tracker,
  effective: Effective,
  place: { readonly holding: Pick<Holding, "server">; readonly dataDir: string },
): Promise<Answer> {
  const states = effective.config.tracker.activeStates;
  try {
    const reading = tracker.fetchIssuesByStates(states);
    const issues = await inTime(reading, trackerMs, `the tracker ${tracker.kind}`);
    const names = trackerProblems(effective, tracker);
    const problems = await inTime(names, trackerMs, `the tracker ${tracker.kind}`);
    if (problems.length > 0) {
      return worst(
        problems.map(({ message, next }) => warn(message, next ?? "symphony config check")),
      );
    }
    const quota = tracker.quota?.() ?? null;
    const left = quota === null ? "" : `; ${quota} are left this hour`;
    const count = `${issues.length} issue${issues.length === 1 ? "" : "s"}`;
    const others = tracker.leftOut?.() ?? null;
    const without = others === null ? "" : `; left out: ${others}`;
    return ok(`${tracker.kind} answers: ${count} in ${states.join(", ")}${without}${left}`);
  } catch (error) {
    // Only the server may use the refresh token: what it found counts.
    if (error instanceof SymphonyError && error.details["renewedBy"] !== undefined)
      return serversAnswer(tracker, place, error);
    return failure(error);
  }
}

/** As the running server reads the tracker; without one it is not known, which is no fault. */
async function serversAnswer(
  { kind }: Tracker,
  { holding, dataDir }: Parameters<typeof checkTracker>[2],
  unknown: SymphonyError,
): Promise<Answer> {
  const polling = holding.server && (await polledBy(holding.server, dataDir));
  if (polling === null) return warn(unknown.message, unknown.hint, unknown.code);
  const { last_error: fault, last_poll_at: at } = polling;
  if (fault === null) return ok(`the server reads ${kind}: its last poll was at ${at}`);
  const { mend } = unknown.details;
  const message = `the server cannot read ${kind}: ${fault.message}`;
  return fail("tracker_status", message, typeof mend === "string" ? mend : unknown.hint);
}

/** Whether git is there, and in whose name symphony commits. */
export async function checkGit({ checked, env }: Project): Promise<Answer> {
  const version = await gitVersion(env);
  const isNeeded = checked !== null && checked.effective.config.git.repositories.length > 0;
  if (version === null) {
    const message = "there is no git on this machine";
    if (isNeeded) return fail("git_not_found", message, "install git");
    return notAsked(`${message}, and no repository is configured`);
  }
  const author = checked?.effective.config.delivery.author ?? (await operatorIdentity(env));
  const who = `${author.name} <${author.email}>`;
  if (isNeeded && author.email.endsWith("@localhost")) {
    return warn(
      `commits of agents' work are by ${who}, because git has no user.name and user.email`,
      'git config --global user.name "NAME" && git config --global user.email ADDRESS',
    );
  }
  return ok(`${version}; commits are by ${who}`);
}

const gitMs = 20_000;

/** null: there is none. */
async function gitVersion(env: Project["env"]): Promise<string | null> {
  try {
    const own = { PATH: env["PATH"] ?? "/usr/bin:/bin" };
    const { signal } = new AbortController();
    const call = { args: ["--version"], cwd: "/", env: own, timeoutMs: gitMs, signal };
    return (await runGit(call)).stdout.trim();
  } catch (error) {
    if (error instanceof SymphonyError && error.code === "git_not_found") return null;
    if (error instanceof GitFailure) return `git does not answer: ${error.message}`;
    throw error;
  }
}

const remoteMs = 60_000;

/** For each repository: whether it can be read and pushed to, and whether pull requests can be opened. */
export async function checkPush(project: Project): Promise<Answer> {
  const { checked, lookup, redactor } = project;
  if (checked === null) return notAsked("the repositories are not known without the workflow file");
  const { git, delivery } = checked.effective.config;
  if (git.repositories.length === 0) return notAsked("no repository is configured");
  const found = await Promise.all(
    git.repositories.map((rule) => tryRepository(rule, delivery, project)),
  );
  const forges = new Set<Forge>();
  const forgeFor = (rule: RepositoryConfig) => {
    const forge = openForge(delivery, rule.address, { clock: systemClock, lookup });
    if (forge !== null) forges.add(forge);
    return forge;
  };
  try {
    const isReachable = found.every(({ status }) => status === "ok");
    const sites = isReachable
      ? await inTime(siteProblems({ git, delivery }, { forgeFor }), remoteMs, "the site")
      : [];
    const refused = sites.map((message) => {
      const [what = "", next] = redactor.redact(message).split("; next: ");
      // A repository that was renamed is reached all the same.
      return next === undefined
        ? fail(null, what, "symphony secrets add GITHUB_TOKEN")
        : warn(what, next);
    });
    return worst([...found, ...refused]);
  } catch (error) {
    return failure(error);
  } finally {
    for (const forge of forges) forge.close();
  }
}

async function tryRepository(
  rule: RepositoryConfig,
  delivery: DeliveryConfig,
  project: Project,
): Promise<Answer> {
  const { env, dataDir, lookup, redactor } = project;
  const { login } = rule.address;
  const forge = openForge(delivery, rule.address, { clock: systemClock, lookup });
  const learn = (secret: string) => redactor.add(secret);
  const reach = { env, runId: runIdOf(dataDir, "doctor"), timeoutMs: remoteMs };
  const order = await trialOrder(rule, forge, { ...reach, lookup, learn });
  const next =
    login === null
      ? `git ls-remote ${rule.address.address}`
      : `symphony secrets add ${login.secret}`;
  try {
    const { head, heads } = await readRemote(order);
    const base = rule.baseBranch ?? head;
    if (delivery.mode === "none") {
      return ok(`${rule.name} can be read; nothing is pushed (delivery.mode none)`);
    }
    const refusal = await trialPush(rule, forge, { ...reach, lookup, learn });
    if (refusal !== null) {
      return fail(null, `${rule.name} would refuse a push: ${refusal.reason}`, next);
    }
    if (heads.size === 0) {
      const first = "push a first commit to it, such as: git commit --allow-empty -m First";
      return warn(`${rule.name} has no commit yet, and work needs one to start from`, first);
    }
    if (base === null || !heads.has(base)) {
      const what = base === null ? "no default branch" : `no branch ${base}`;
      const branches = [...heads.keys()].slice(0, 5).join(", ");
      return warn(`${rule.name} has ${what}`, `set its base_branch to one of ${branches}`);
    }
    return ok(`${rule.name} can be read (${base}) and would take a push`);
  } catch (error) {
    if (error instanceof RemoteFailure) {
      return fail("clone_failed", `${rule.name} cannot be read: ${error.message}`, next);
    }
    return failure(error);
  } finally {
    forge?.close();
  }
}

export function checkWebhook({ checked, lookup }: Project): Answer {
  if (checked === null) return notAsked("not known without the workflow file");
  const { tracker, delivery } = checked.effective.config;
  const row = kinds.trackers.find(({ kind }) => kind === tracker.kind);
  // A site's webhook tells of its issues too.
  const site = forgeKinds.find(({ kind }) => kind === tracker.kind);
  if (site !== undefined) {
    return site.webhook.secret(delivery.github, lookup) === null
      ? notAsked(`there is no secret for /webhooks/${site.kind}: changes are found by polling`)
      : ok(`deliveries at /webhooks/${site.kind} are checked with their secret`);
  }
  if (!row?.webhook) return notAsked(`the ${tracker.kind} tracker sends no webhooks`);
  const name = row.webhook.secretName(tracker.provider) ?? "the workflow file";
  if (row.webhook.secret(tracker.provider, lookup) === null) {
    return notAsked(`${name} is not set: changes are found by polling`);
  }
  return ok(`deliveries at /webhooks/${row.kind} are checked with ${name}`);
}

/** What no agent may see of the environment. */
export function hiddenNames({ effective }: { effective: Effective }, tracker: Tracker | null) {
  return secretNamesOf(effective.config, { secretEnvNames: tracker?.secretEnvNames ?? [] });
}
