/** The variable that holds the signing secret unless `tracker.provider.webhook_secret` says otherwise. */
export const webhookSecretVariable = "LINEAR_WEBHOOK_SECRET";

const variableReference = /^\$([A-Za-z_][A-Za-z0-9_]*)$/;

/** The variable or stored secret that holds it; null when the workflow file holds the secret itself. */
export function namedSecret(written: unknown): string | null {
  if (typeof written !== "string") return webhookSecretVariable;
  return variableReference.exec(written.trim())?.[1] ?? null;
}

/**
 * The secret that deliveries are signed with, looked up at each call; null when there is none. A `$NAME` that is not set
 * gives way to the default variable, one that is set to nothing does not.
 */
export function webhookSecret(
  written: unknown,
  lookup: (name: string) => string | undefined,
): string | null {
  const name =
    typeof written === "string" ? variableReference.exec(written.trim())?.[1] : undefined;
  const own = name === undefined ? written : lookup(name);
  const value = typeof own === "string" ? own : lookup(webhookSecretVariable);
  return value?.trim() || null;
}
