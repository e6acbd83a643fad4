import { lstat, realpath } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import type { ProgramAccess } from "../config/agents.ts";
import { loginsIn } from "../process/home-places.ts";
import { isInside } from "../process/view.ts";
import type { SessionSpec } from "./agent.ts";
import { type Confinement, type ProgramKind, programConfinement } from "./confinement.ts";
import { knownPrograms } from "./installed.ts";
import type { ProviderWay } from "./provider-way.ts";

/*
 * Credentials that stay in the sandbox of a program: variables that the operator passes on, and logins
 * of other programs in the paths that the operator shows. They are said before and at the start.
 */

const credential = /(KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS)$/;

interface ReadableFacts {
  /** The variables of the operator that the program gets. */
  readonly passthrough: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  /** null at level `danger`, where nothing is kept from the program. */
  readonly confinement: Confinement | null;
}

/** A sentence about the credentials that a confined program can read; empty when there are none. */
export async function readableCredentials({
  passthrough,
  env,
  confinement,
}: ReadableFacts): Promise<readonly string[]> {
  if (confinement === null) return [];
  const names = passthrough.filter((name) => credential.test(name) && env[name]);
  const all = [...names, ...(await loginsShown(confinement, env))];
  if (all.length === 0) return [];
  return [
    `the agent can read ${all.join(", ")}, and a text that convinces its model can make it send that away`,
  ];
}

async function loginsShown(
  { shown, hidden }: Confinement,
  env: NodeJS.ProcessEnv,
): Promise<readonly string[]> {
  const home = env["HOME"] || homedir();
  const logins = [...knownPrograms.map(({ loginFile }) => loginFile(env)), ...loginsIn(home)];
  const seen = [...new Set(logins)].map(async (login) => {
    const path = await realpath(login).catch(() => null);
    if (path === null || hidden.some((one) => isInside(path, one))) return [];
    const isThere = shown.some(({ from, as }) => as !== "link" && isInside(path, from));
    return isThere && (await lstat(path)).isFile() ? [login.replace(home, "~")] : [];
  });
  return (await Promise.all(seen)).flat();
}

interface Program {
  readonly kind: ProgramKind;
  readonly access: ProgramAccess;
  readonly lines: readonly string[];
  readonly provider: ProviderWay | null;
  readonly level: SessionSpec["level"];
}

interface Place {
  readonly env: NodeJS.ProcessEnv;
  readonly dataDir: string;
  workspaceRoot(): string;
}

/** The same without a session, for a check of the configuration. */
export async function readableBy(
  { kind, access, lines, provider, level }: Program,
  { env, dataDir, workspaceRoot }: Place,
): Promise<readonly string[]> {
  const root = workspaceRoot();
  const workspace = join(root, "none");
  const spec = { workspace, level, secretEnvNames: [], runId: "", onLog() {} };
  const options = { spec, lines, env, dataDir, workspaceRoot: root };
  const confinement = await programConfinement(kind, access, options);
  const own = provider?.keyVariable;
  const passthrough = access.envPassthrough.filter((name) => name !== own);
  return readableCredentials({ passthrough, env, confinement });
}
