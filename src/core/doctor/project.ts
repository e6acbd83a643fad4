import { systemClock } from "../clock.ts";
import { type Checked, checkConfig } from "../config/check.ts";
import { type Finding, parseFindings, refusal } from "../config/finding.ts";
import { readOverlay } from "../config/service.ts";
import { readWorkflow } from "../config/workflow.ts";
import { fileChecks } from "../file-checks.ts";
import { kinds, sections } from "../kinds.ts";
import { SymphonyError } from "../model/errors.ts";
import { learnEnvironment } from "../secrets/learn.ts";
import { openSecrets, type Secrets } from "../secrets/secrets.ts";
import { createRedactor, type Redactor } from "../text/redact.ts";
import { loadTracker } from "../tracker/kinds.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

export interface ProjectPlace {
  readonly workflowPath: string;
  readonly dataDir: string;
  readonly env: Environment;
  readonly allowUnknown: boolean;
}

/** What a server would work with, or why it would not start. */
export interface Project extends ProjectPlace {
  readonly redactor: Redactor;
  /** null: they cannot be opened. */
  readonly secrets: Secrets | null;
  readonly secretsFault: SymphonyError | null;
  /** Why the overlay cannot be read. */
  readonly overlayFault: SymphonyError | null;
  /** null: the file was not read, because of one of the faults above or its own. */
  readonly checked: Checked | null;
  readonly findings: readonly Finding[];
  /** Why a server would refuse the workflow file. */
  readonly workflowFault: SymphonyError | null;
  lookup(name: string): string | undefined;
}

/** Reads a project as the start of a server does, and continues after a fault. Changes nothing. */
export async function readProject(place: ProjectPlace): Promise<Project> {
  const { dataDir, env } = place;
  const redactor = createRedactor();
  learnEnvironment(env, redactor);
  const opening = openSecrets({ dir: dataDir, env, clock: systemClock, redactor });
  const [secrets, secretsFault] = await orFault(opening);
  const lookup = (name: string) => secrets?.lookup(name) ?? env[name];
  const [overlay, overlayFault] = await orFault(readOverlay(dataDir));
  const base = { ...place, redactor, secrets, secretsFault, overlayFault, lookup };
  const [content, unreadable] = await orFault(readWorkflow(place.workflowPath));
  // Without the secrets or the overlay, faults would be found that are none.
  if (content === null || secrets === null || overlay === null) {
    return { ...base, checked: null, findings: [], workflowFault: unreadable };
  }
  const checking = checkConfig(content, {
    ...{ sections, workflowPath: place.workflowPath, env, allowUnknown: place.allowUnknown },
    ...{ flags: {}, overlay },
    checks: fileChecks({
      ...{ env, redactor, lookup },
      checkTracker: async (next) => (await loadTracker(kinds.trackers, next)).check(next, lookup),
    }),
  });
  const [checked, unparsed] = await orFault(checking);
  const findings = unparsed ? parseFindings(unparsed, place.workflowPath) : checked?.findings;
  return {
    ...base,
    checked,
    findings: findings ?? [],
    workflowFault: unparsed ?? faultOf(findings),
  };

  function faultOf(found: readonly Finding[] = []): SymphonyError | null {
    const isFaulty = found.some(({ severity }) => severity === "error");
    return isFaulty ? refusal(found, place.workflowPath) : null;
  }
}

async function orFault<T>(
  work: Promise<T>,
): Promise<readonly [T, null] | readonly [null, SymphonyError]> {
  try {
    return [await work, null];
  } catch (error) {
    if (error instanceof SymphonyError) return [null, error];
    throw error;
  }
}
