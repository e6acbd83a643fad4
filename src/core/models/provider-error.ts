import { SymphonyError } from "../model/errors.ts";

/** Why a provider could not be asked, in one word for programs. */
export type ProviderFault =
  | "invalid_url"
  | "missing_key"
  | "unauthorized"
  | "rate_limited"
  | "redirected"
  | "status"
  | "response"
  | "timeout"
  | "connection"
  | "agent"
  | "unsupported";

/** A refusal that never holds what the provider wrote: some repeat the key they were given. */
export function providerError(
  category: ProviderFault,
  message: string,
  facts: {
    readonly [name: string]: unknown;
    readonly hint?: string;
    readonly cause?: unknown;
  } = {},
): SymphonyError {
  const { hint, cause, ...details } = facts;
  return new SymphonyError("provider_error", `the models cannot be listed: ${message}`, {
    details: { category, ...details },
    ...(hint !== undefined && { hint }),
    ...(cause !== undefined && { cause }),
  });
}
