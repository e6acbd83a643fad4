import { agentTroubles } from "../core/agent-checks.ts";
import { systemClock } from "../core/clock.ts";
import { type Config, understandVariable } from "../core/config/config.ts";
import type { RepositoryConfig } from "../core/config/git.ts";
import { openConfig, readOverlay } from "../core/config/service.ts";
import { reviewMoves } from "../core/delivery/end-state.ts";
import type { Forge } from "../core/delivery/forge.ts";
import { openForge } from "../core/delivery/kinds.ts";
import { siteProblems, type Trial, trialPush } from "../core/delivery/reachable.ts";
import { inTime } from "../core/doctor/in-time.ts";
import { fileChecks } from "../core/file-checks.ts";
import { hostPlaces, shortagesOf, troubleOf } from "../core/host.ts";
import { kinds, sections } from "../core/kinds.ts";
import { machineProblems } from "../core/machine-checks.ts";
import { messageOf } from "../core/model/errors.ts";
import { planOf } from "../core/orchestrator/records.ts";
import { version } from "../core/package.ts";
import { sampleHost } from "../core/process/host.ts";
import { runIdOf } from "../core/process/table.ts";
import { openSecrets } from "../core/secrets/secrets.ts";
import { readIssueRecords } from "../core/store/documents.ts";
import { isFull } from "../core/store/lock.ts";
import { readAgentPauses, readPause } from "../core/store/pause.ts";
import { createRedactor } from "../core/text/redact.ts";
import { loadTracker } from "../core/tracker/kinds.ts";
import type { Tracker, TrackerDeps } from "../core/tracker/tracker.ts";
import { type CommandContext, servedProject } from "./context.ts";
import { type Cell, printPage } from "./output.ts";

type Plan = Awaited<ReturnType<typeof planOfOnePoll>>["plan"];

interface PlanRequest {
  readonly workflow: string | undefined;
  readonly iUnderstand: boolean;
  readonly allowUnknown: boolean;
}

/** What a first poll would start and why the rest would not; starts and changes nothing. */
export async function planOfOnePoll(
  { workflow, allowUnknown, iUnderstand }: PlanRequest,
  context: CommandContext,
) {
  const { workflowPath, dataDir } = servedProject(workflow, context);
  const env = iUnderstand ? { ...context.env, [understandVariable]: "1" } : context.env;
  const redactor = createRedactor();
  const secrets = await openSecrets({ dir: dataDir, env, clock: systemClock, redactor });
  const lookup = (name: string) => secrets.lookup(name) ?? env[name];
  const deps: TrackerDeps = { dataDir, clock: systemClock, lookup, env, workflowPath };
  const service = await openConfig({
    sections,
    workflowPath,
    env,
    flags: {},
    clock: systemClock,
    allowUnknown,
    overlay: await readOverlay(dataDir),
    checks: fileChecks({
      ...{ env, redactor, lookup },
      checkTracker: async (next) => (await loadTracker(kinds.trackers, next)).check(next, lookup),
    }),
  });
  const { config } = service.current;
  const adapter = await loadTracker(kinds.trackers, config.tracker);
  const tracker = adapter.create(config.tracker, deps);
  try {
    const hide = (value: string) => redactor.add(value);
    const about = { ...deps, workflowPath, env, version: version() };
    const machine = { ...about, hide, tracker, kinds: kinds.agents };
    const asking = inTime(machineProblems(service.current, machine), trackerMs, "a check");
    service.report(await asking.catch(() => []));
    const troubles = await agentTroubles(config, machine);
    const warnings = service.warnings.map((warning) => redactor.redact(warning));
    for (const warning of warnings) context.note(`warning: ${warning}`);
    const reading = tracker.fetchIssuesByStates(config.tracker.activeStates);
    const issues = await inTime(reading, trackerMs, `the tracker ${tracker.kind}`);
    const records = await readIssueRecords(dataDir);
    const paused = await readPause(dataDir);
    const pauses = await readAgentPauses(dataDir);
    const sample = await sampleHost(hostPlaces(config, dataDir));
    const host = troubleOf(shortagesOf(sample, config.host, []), systemClock.wall());
    const wall = systemClock.wall();
    const full = await isFull(dataDir);
    const storage = full ? { reason: "no space left on device", waiting: 0, sinceWall: 0 } : null;
    const trial = { env, lookup, runId: runIdOf(dataDir, "dry-run"), learn: hide };
    const problems = await problemsOf(config, trial);
    for (const problem of problems) context.note(redactor.redact(problem));
    for (const move of await movesOf(tracker, config)) context.note(redactor.redact(move));
    const known = { records, wall, storage, paused, pauses, host, troubles };
    const plan = planOf(issues, config, known).map(({ issue, runs, why }) => ({
      issue_identifier: issue.identifier,
      title: issue.title,
      state: issue.state,
      priority: issue.priority,
      would_run: runs,
      why,
    }));
    return { plan, warnings };
  } finally {
    await tracker.close();
    await service.close();
  }
}

/** Why offered work would not arrive at its site; nothing is written there. */
async function problemsOf(config: Config, trial: Omit<Trial, "timeoutMs">) {
  const forges = new Set<Forge>();
  const forgeFor = (rule: RepositoryConfig) => {
    const { lookup } = trial;
    const forge = openForge(config.delivery, rule.address, { clock: systemClock, lookup });
    if (forge !== null) forges.add(forge);
    return forge;
  };
  const tryPush = (rule: RepositoryConfig) =>
    trialPush(rule, forgeFor(rule), { ...trial, timeoutMs: sitesMs });
  try {
    return await inTime(siteProblems(config, { forgeFor, tryPush }), sitesMs, "a site of delivery");
  } catch (error) {
    return [messageOf(error)];
  } finally {
    for (const forge of forges) forge.close();
  }
}

/** Where offered work is moved to; empty if the tracker does not answer. */
async function movesOf(tracker: Tracker, config: Config): Promise<readonly string[]> {
  const asking = tracker.scopeNames?.({ labels: false });
  if (asking === undefined) return [];
  const names = await inTime(asking, sitesMs, "the tracker").catch(() => null);
  return names === null ? [] : reviewMoves(config, names);
}

/** A dry-run ends within 30 s, whatever a tracker, a site or a proxy on the way does. */
const trackerMs = 15_000;
const sitesMs = 8_000;

/** Prints it for a person. */
export async function printPlan(plan: Plan, context: CommandContext): Promise<void> {
  if (plan.length === 0) {
    context.print("No issue is in an active state: nothing would run.");
    return;
  }
  const columns = [
    { title: "ISSUE" },
    { title: "WOULD" },
    { title: "STATE", drop: 1 },
    { title: "TITLE", flexible: true },
    { title: "WHY NOT", flexible: true },
  ];
  const rows = plan.map((one): Cell[] => [
    one.issue_identifier,
    one.would_run ? { text: "run", style: "green" } : { text: "wait", style: "dim" },
    one.state,
    one.title,
    one.why ?? "",
  ]);
  await printPage({ columns, rows }, context);
}
