import type { TrackerConfig } from "../config/config.ts";
import { credentialKey } from "../config/overlay.ts";
import { isMap } from "../config/schema.ts";
import { proxySecrets } from "../outbound.ts";
import type { Redactor } from "../text/redact.ts";

type SecretSink = Pick<Redactor, "add">;
type Lookup = (name: string) => string | undefined;

const secretName = /(?:^|_)(?:KEY|TOKEN|SECRET|PASSWORD)$/i;
const shortestGuessed = 8;
/** Ordinary words, such as `postgres` or `12345678`, are too frequent in text to be redacted. */
const ordinary = /^(?:[a-z]{1,15}|[A-Z]{1,15}|\d{1,15})$/;
const reference = /^\$([A-Za-z_][A-Za-z0-9_]*)$/;

/** Registers, for redaction, every variable whose name ends in KEY, TOKEN, SECRET or PASSWORD, and a proxy's password. */
export function learnEnvironment(
  env: Readonly<Record<string, string | undefined>>,
  redactor: SecretSink,
): void {
  for (const [name, value] of Object.entries(env)) {
    const guessed = secretName.test(name) && value !== undefined && value.length >= shortestGuessed;
    if (guessed && !ordinary.test(value)) redactor.add(value);
  }
  for (const secret of proxySecrets(env)) redactor.add(secret);
}

/** Registers, for redaction, every credential that the tracker's section contains or names as `$NAME`. */
export function learnTracker(
  { provider }: TrackerConfig,
  lookup: Lookup,
  redactor: SecretSink,
): void {
  const learn = (values: Readonly<Record<string, unknown>>) => {
    for (const [key, value] of Object.entries(values)) {
      if (isMap(value)) learn(value);
      // A list of names whose values a program of the tracker receives.
      if (key === "secret_env" && Array.isArray(value)) {
        for (const name of value) {
          const secret = lookup(String(name));
          if (secret) redactor.add(secret);
        }
      }
      if (typeof value !== "string" || !credentialKey.test(key.trim())) continue;
      const name = reference.exec(value.trim())?.[1];
      const secret = name === undefined ? value : lookup(name);
      if (secret !== undefined) redactor.add(secret);
    }
  };
  learn(provider);
}
