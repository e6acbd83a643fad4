import { systemClock } from "./clock.ts";
import { type CheckDeps, type Checked, checkConfig } from "./config/check.ts";
import type { Config } from "./config/config.ts";
import { type Finding, parseFindings } from "./config/finding.ts";
import { readOverlay } from "./config/service.ts";
import { readWorkflow } from "./config/workflow.ts";
import { reviewMoves } from "./delivery/end-state.ts";
import { fileChecks } from "./file-checks.ts";
import { kinds, sections } from "./kinds.ts";
import { machineProblems } from "./machine-checks.ts";
import { SymphonyError } from "./model/errors.ts";
import { learnEnvironment } from "./secrets/learn.ts";
import { openSecrets } from "./secrets/secrets.ts";
import { createRedactor } from "./text/redact.ts";
import { loadTracker } from "./tracker/kinds.ts";
import type { Tracker } from "./tracker/tracker.ts";

export interface ProjectCheck {
  readonly workflowPath: string;
  readonly dataDir: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly version: string;
  readonly allowUnknown: boolean;
  /** Only the file is checked: neither what is installed nor the tracker. */
  readonly offline: boolean;
}

export interface ProjectChecked {
  readonly findings: readonly Finding[];
  /** As `reviewMoves`; empty if the tracker was not asked, or did not answer. */
  readonly moves: readonly string[];
}

const nothingMore: ProjectChecked = { findings: [], moves: [] };

/**
 * The check of a project's configuration without a server: the file with the environment and the overlay, then this machine and
 * the tracker. Rejects with `missing_workflow_file`; changes nothing.
 */
export async function checkProject(options: ProjectCheck): Promise<ProjectChecked> {
  const { dataDir, env, workflowPath } = options;
  const redactor = createRedactor();
  learnEnvironment(env, redactor);
  const secrets = await openSecrets({ dir: dataDir, env, clock: systemClock, redactor });
  const lookup = (name: string) => secrets.lookup(name) ?? env[name];
  const content = await readWorkflow(workflowPath);
  const deps: CheckDeps = {
    ...{ sections, workflowPath, env, allowUnknown: options.allowUnknown },
    flags: {},
    overlay: await readOverlay(dataDir),
    checks: fileChecks({
      ...{ env, redactor, lookup },
      checkTracker: async (next) => (await loadTracker(kinds.trackers, next)).check(next, lookup),
    }),
  };
  const hide = (value: string) => redactor.add(value);
  const { checked, faults } = await checkedOrFaults(content, deps);
  const further =
    checked === null || options.offline
      ? nothingMore
      : await onMachine(checked, {
          ...{ dataDir, workflowPath, env, version: options.version, lookup, hide },
        });
  const found = [...faults, ...(checked?.findings ?? []), ...further.findings];
  const redacted = (text: string) => redactor.redact(text);
  const findings = found.map((one) => ({
    ...one,
    message: redacted(one.message),
    read: one.read === null ? null : redacted(one.read),
  }));
  return { findings, moves: further.moves.map(redacted) };
}

/** A file that cannot be split into settings and a prompt is one fault or more of YAML, and nothing else can be said of it. */
async function checkedOrFaults(
  content: Uint8Array,
  deps: CheckDeps,
): Promise<{ readonly checked: Checked | null; readonly faults: readonly Finding[] }> {
  try {
    return { checked: await checkConfig(content, deps), faults: [] };
  } catch (error) {
    if (!(error instanceof SymphonyError)) throw error;
    return { checked: null, faults: parseFindings(error, deps.workflowPath) };
  }
}

interface MachineDeps {
  readonly version: string;
  readonly dataDir: string;
  readonly workflowPath: string;
  readonly env: ProjectCheck["env"];
  lookup(name: string): string | undefined;
  hide(value: string): void;
}

async function onMachine(checked: Checked, deps: MachineDeps): Promise<ProjectChecked> {
  const { effective, findings } = checked;
  const isSound = findings.every(
    ({ severity, path }) => severity !== "error" || !/^tracker\b/.test(path),
  );
  const tracker = isSound ? await openTracker(effective.config, deps) : null;
  try {
    const problems = await machineProblems(effective, {
      ...deps,
      ...{ kinds: kinds.agents, clock: systemClock, tracker: tracker ?? {} },
    });
    // A tracker that does not answer is a problem already.
    const names = await tracker?.scopeNames?.({ labels: false }).catch(() => null);
    const moves = names == null ? [] : reviewMoves(effective.config, names);
    return { findings: checked.locate(problems), moves };
  } finally {
    await tracker?.close();
  }
}

async function openTracker(
  { tracker }: Config,
  { dataDir, lookup }: MachineDeps,
): Promise<Tracker> {
  const adapter = await loadTracker(kinds.trackers, tracker);
  return adapter.create(tracker, { dataDir, clock: systemClock, lookup });
}
