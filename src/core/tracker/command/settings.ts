import { dirname, resolve } from "node:path";
import { z } from "zod";
import type { TrackerConfig } from "../../config/config.ts";
import { SymphonyError } from "../../model/errors.ts";
import { agentEnvironment } from "../../process/environment.ts";
import { type LocalOptions, localOptions } from "../local/settings.ts";
import { everyPart, readProvider } from "../provider-settings.ts";
import type { Lookup, TrackerDeps } from "../tracker.ts";

const variable = z
  .string()
  .regex(/^(?!SYMPHONY_)[A-Za-z_][A-Za-z0-9_]*$/, "must be the name of a variable");

const Provider = z.object({
  command: z
    .array(z.string().min(1, "must not be blank"), "must be a list: the program and its arguments")
    .min(1, "must name a program"),
  env: z.record(variable, z.union([z.string(), z.number(), z.boolean()])).default({}),
  secret_env: z.array(variable, "must be a list of names").default([]),
  timeout_ms: z.number().int().min(100).max(600_000).default(30_000),
});

/** The checked settings of a tracker that is a program. Holds no credential. */
export interface CommandSettings extends Pick<LocalOptions, "states" | "blockers"> {
  readonly argv: readonly string[];
  /** For each request, ms. */
  readonly timeoutMs: number;
  /** Names of the secrets that the program receives, and that nothing else does. */
  readonly secretNames: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/**
 * The settings of `tracker.kind: command`. Throws `invalid_tracker_config`, naming the key, or `missing_tracker_secret` for a
 * name of `secret_env` that nothing defines.
 */
export function commandSettings(config: TrackerConfig, lookup: Lookup): CommandSettings {
  const { states, ...own } = config.provider;
  const { options, read } = everyPart({
    options: () => localOptions({ ...config, provider: { states } }),
    read: () => {
      const found = readProvider(Provider, own);
      for (const name of found.secret_env) requireSecret(name, lookup);
      return found;
    },
  });
  const { command, env, secret_env: secretNames, timeout_ms: timeoutMs } = read;
  const plain = Object.entries(env).map(([name, value]) => [name, String(value)]);
  return {
    ...options,
    ...{ argv: command, timeoutMs, secretNames, env: Object.fromEntries(plain) },
  };
}

function requireSecret(name: string, lookup: Lookup): string {
  const value = lookup(name);
  if (value) return value;
  const message = `tracker.provider.secret_env names ${name}, which is not set`;
  throw new SymphonyError("missing_tracker_secret", message, {
    details: { path: "tracker.provider.secret_env" },
    hint: `symphony secrets add ${name}`,
  });
}

/** The program's environment: what agents inherit, `env`, and the secrets. Throws `missing_tracker_secret`. */
export function programEnvironment(
  { env, secretNames }: CommandSettings,
  deps: Pick<TrackerDeps, "env" | "lookup">,
  runId: string,
): Record<string, string> {
  const secrets = secretNames.map((name) => [name, requireSecret(name, deps.lookup)]);
  return {
    ...agentEnvironment({ env: deps.env ?? {}, passthrough: [], secretNames, runId }),
    ...env,
    ...Object.fromEntries(secrets),
  };
}

/** Where the program runs: relative paths of `command` begin at the workflow file. */
export function programDir({ workflowPath }: Pick<TrackerDeps, "workflowPath">): string {
  return workflowPath === undefined ? resolve(".") : dirname(resolve(workflowPath));
}
