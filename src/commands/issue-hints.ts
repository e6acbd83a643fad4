import type { Client } from "../client/client.ts";
import type { Api } from "../contract/api.ts";
import { SymphonyError } from "../core/model/errors.ts";
import { closest } from "./suggest.ts";

const mostIssues = 500;

/** Whoever can name the issues there are. */
export interface Lister {
  list(query: { limit: number }): Promise<{ issues: readonly { identifier: string }[] }>;
}

/** Runs `work` on an issue; where there is no such issue, the error names the one that was probably meant. */
export async function onIssue<T>(id: string, lister: Lister, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof SymphonyError) || error.code !== "issue_not_found") throw error;
    const known = await lister.list({ limit: mostIssues }).catch(() => ({ issues: [] }));
    const meant = closest(
      id,
      known.issues.map(({ identifier }) => identifier),
    );
    throw withHint(error, meant === null ? "symphony issue list" : `did you mean ${meant}?`);
  }
}

/** Asks the server for the issues it knows. */
export function listerOf(client: Client<Api>): Lister {
  return { list: (query) => client.issues.list({ query }) };
}

/** The same error with a hint for people. */
export function withHint(
  { code, message, details, cause }: SymphonyError,
  hint: string,
): SymphonyError {
  return new SymphonyError(code, message, { details, cause, hint });
}
