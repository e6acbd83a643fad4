// The checks of a start and of an attempt, made one by one without starting.

import type { ServerConfig } from "../config/config.ts";
import { proxyFor } from "../outbound.ts";
import type { Tracker } from "../tracker/tracker.ts";
import { checkAgents } from "./agent-check.ts";
import {
  checkDataDir,
  checkDisk,
  checkFiles,
  checkSecrets,
  fixDataDir,
  type Holding,
  holdDataDir,
} from "./data-checks.ts";
import { checkFleet, type FleetVersions } from "./fleet-check.ts";
import {
  checkClock,
  checkNode,
  checkPort,
  checkProxy,
  checkSandbox,
  checkServers,
} from "./machine.ts";
import { type Project, type ProjectPlace, readProject } from "./project.ts";
import { type Answer, type CheckName, type CheckResult, notAsked } from "./result.ts";
import {
  checkGit,
  checkPush,
  checkTracker,
  checkWebhook,
  checkWorkflow,
  hiddenNames,
  openTracker,
} from "./services.ts";
import { checkSsh } from "./ssh-check.ts";

export interface DoctorOptions extends ProjectPlace {
  readonly version: string;
  /** Mend what is safe to mend first. */
  readonly fix: boolean;
  /** Run a turn of each agent, which costs a few tokens. */
  readonly smoke: boolean;
  /** Rejects with `cannot_listen` as the start of the server does. */
  probePort(server: ServerConfig): Promise<void>;
  /** Of the fleet, as the running server of this project lists them, and its own version. */
  workers(): Promise<FleetVersions>;
  /** Called with each result as soon as it is there. */
  onResult(result: CheckResult): void;
}

export interface Examination {
  readonly checks: readonly CheckResult[];
  /** What was mended, in words. */
  readonly fixed: readonly string[];
  readonly project: Project;
  /** The address of the running server of this project; null: none runs. */
  readonly server: string | null;
}

/** Makes every check. Without `fix` it changes nothing. */
export async function examine(options: DoctorOptions): Promise<Examination> {
  const holding = await holdDataDir(options.dataDir);
  try {
    const isFixed = options.fix && holding.lock !== null;
    const fixed = isFixed ? await fixDataDir(options.dataDir) : [];
    const project = await readProject(options);
    const checks = await checkAll(options, project, holding);
    return { checks, fixed, project, server: holding.server?.url ?? null };
  } finally {
    await holding.lock?.release();
  }
}

async function checkAll(
  options: DoctorOptions,
  project: Project,
  holding: Holding,
): Promise<readonly CheckResult[]> {
  const { env, checked, redactor } = project;
  const results: CheckResult[] = [];
  const add = async (name: CheckName, answer: Answer | Promise<Answer>) => {
    const { message, next, ...rest } = await answer;
    const redact = (text: string) => redactor.redact(text);
    const shown = { message: redact(message), next: next === null ? null : redact(next) };
    const result = { name, ...rest, ...shown };
    results.push(result);
    options.onResult(result);
  };
  const proxying = checkProxy(env);
  const tracker = await openTracker(project);
  try {
    // All at once, shown in order; each answers for itself and none rejects but for a bug.
    const isBlocked = async () => (await proxying).status === "fail";
    const network = async (uses: boolean, check: () => Answer | Promise<Answer>) =>
      uses && (await isBlocked()) ? notAsked("the proxy cannot be reached") : check();
    const isRemote = usesProxy(tracker?.address, env);
    const sandboxing = checkSandbox(project);
    const all: readonly (readonly [CheckName, Answer | Promise<Answer>])[] = [
      ["node", checkNode()],
      ["data_dir", checkDataDir(project, holding)],
      ["disk", checkDisk(project)],
      ["secrets", checkSecrets(project)],
      ["files", checkFiles(project, holding)],
      ["workflow", checkWorkflow(project)],
      ["proxy", proxying],
      ["clock", network(isRemote, () => checkClock(tracker?.address))],
      [
        "tracker",
        network(isRemote, () =>
          tracker && checked
            ? checkTracker(tracker, checked.effective, { holding, dataDir: options.dataDir })
            : unread,
        ),
      ],
      [
        "agent",
        sandboxing.then((sandbox) => agentAnswer(options, { project, holding, tracker, sandbox })),
      ],
      ["sandbox", sandboxing],
      ["git", checkGit(project)],
      ["push", network(areRemote(project), () => checkPush(project))],
      ["webhook", checkWebhook(project)],
      ...(hasFleet(project) ? [["fleet", fleetAnswer(options, project, holding)] as const] : []),
      ...(hasHosts(project) ? [["ssh", checkSsh(project)] as const] : []),
      ["port", checkPort(project, holding, options.probePort)],
      ["servers", checkServers(project, holding)],
    ];
    const settled = Promise.allSettled(all.map(([, answer]) => answer));
    for (const [name, answer] of all) await add(name, answer);
    await settled;
    return results;
  } finally {
    await tracker?.close();
  }
}

const unread = notAsked("the workflow file cannot be used");

interface AgentFacts {
  readonly project: Project;
  readonly holding: Holding;
  readonly tracker: Tracker | null;
  readonly sandbox: Answer;
}

function agentAnswer(
  { version, smoke }: DoctorOptions,
  { project, holding, tracker, sandbox }: AgentFacts,
): Answer | Promise<Answer> {
  const { checked, workflowFault } = project;
  if (checked === null || workflowFault !== null) return unread;
  return checkAgents({
    ...{ project, checked, version, smoke, sandbox },
    hidden: hiddenNames(checked, tracker),
    noTurn: holding.server === null ? null : "a server runs here: give it an issue instead",
  });
}

/** This machine and what `NO_PROXY` names are reached directly. */
function usesProxy(address: string | undefined, env: Project["env"]): boolean {
  const url = URL.parse(address ?? "");
  if (url === null || !/^https?:$/.test(url.protocol)) return false;
  try {
    return proxyFor(url, env) !== null;
  } catch {
    return true;
  }
}

function hasFleet({ checked }: Project): boolean {
  return (checked?.effective.config.fleet.url ?? null) !== null;
}

function fleetAnswer(
  { workers }: DoctorOptions,
  project: Project,
  { server }: Holding,
): Promise<Answer> {
  return checkFleet(project, server === null ? null : workers);
}

function hasHosts({ checked }: Project): boolean {
  return (checked?.effective.config.worker.sshHosts.length ?? 0) > 0;
}

function areRemote({ checked, env }: Project): boolean {
  const repositories = checked?.effective.config.git.repositories ?? [];
  return repositories.some(({ address }) => usesProxy(address.address, env));
}
