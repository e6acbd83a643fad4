import { type Environment, loginWith } from "../process/login.ts";

/** Where the values of an agent's variables come from. */
export interface Keys {
  readonly env: Environment;
  /** Secrets first, then the environment. */
  lookup(name: string): string | undefined;
  /** Registers a value that must never be shown. */
  hide(value: string): void;
}

interface Passing {
  /** Names of variables that the operator passes on to an agent. */
  readonly envPassthrough: readonly string[];
}

/**
 * What an agent's environment is taken from: the login shell's, and stored secrets that `env_passthrough` of its kind names. A
 * secret comes before a variable of the same name.
 */
export async function environmentOf(
  { envPassthrough }: Passing,
  { env, lookup, hide }: Keys,
): Promise<Environment> {
  const stored = envPassthrough.flatMap((name) => {
    const value = lookup(name);
    if (value === undefined || value === env[name]) return [];
    hide(value);
    return [[name, value] as const];
  });
  return loginWith(env, Object.fromEntries(stored));
}
