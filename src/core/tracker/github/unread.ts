import { ForgeError } from "../../model/forge-error.ts";
import type { Issue } from "../../model/issue.ts";
import type { PartialRead } from "../partial.ts";
import { trackerError } from "./errors.ts";
import type { RepositoryIssues } from "./repository.ts";

/** A repository that cannot be read, while others may be. */
export interface Failed {
  readonly repository: RepositoryIssues;
  readonly error: ForgeError;
}

/** The failure, if it may be of this repository alone; else it is thrown: a limit, a token and a lost connection are of all. */
export function failedAlone(repository: RepositoryIssues, error: unknown): Failed {
  if (!(error instanceof ForgeError)) throw error;
  const { category, status } = error;
  const isOfAll =
    category === "rate_limited" ||
    category === "unauthorized" ||
    (category === "unavailable" && status === null);
  if (isOfAll) throw error;
  return { repository, error };
}

/** The repositories by their ids, and those whose id cannot be asked now. */
export async function homesOf(repositories: readonly RepositoryIssues[]) {
  const byId = new Map<string, RepositoryIssues>();
  const failed: Failed[] = [];
  const asked = repositories.map(async (repository) => {
    try {
      byId.set(String((await repository.facts()).id), repository);
    } catch (error) {
      failed.push(failedAlone(repository, error));
    }
  });
  await Promise.all(asked);
  return { byId, failed };
}

export interface ReadOfSeveral {
  readonly issues: readonly Issue[];
  readonly failed: readonly Failed[];
  /** As in `Unread.ids`. */
  readonly left: readonly string[];
}

/** The issues of a read that was needed whole. Throws the first failure. */
export function whole({ issues, failed: [first] }: ReadOfSeveral): readonly Issue[] {
  if (first !== undefined) throw first.error;
  return issues;
}

/** What was read, and what was not. */
export function partOf({ issues, failed, left }: ReadOfSeveral): PartialRead {
  const [first] = failed;
  if (first === undefined) return { issues, unread: null };
  const said = failed.map(({ repository: { place }, error: { message } }) => {
    const name = `${place.owner}/${place.repo}`;
    return message.startsWith(`${name}: `) ? message : `${name}: ${message}`;
  });
  const message = `${said.join("; ")}: its issues wait, those of other repositories do not`;
  return { issues, unread: { code: trackerError(first.error).code, message, ids: left } };
}

/** The last known issues of each repository, to show them while it cannot be read. */
export class LastIssues {
  readonly #last = new Map<RepositoryIssues, readonly Issue[]>();
  readonly #withheld = new Map<RepositoryIssues, { why: string; issues: readonly Issue[] }>();

  read(repository: RepositoryIssues, issues: readonly Issue[]): void {
    this.#last.set(repository, issues);
    this.#withheld.delete(repository);
  }

  /** The same objects while the reason is the same. */
  withheld({ repository, error }: Failed): readonly Issue[] {
    const why = `its repository cannot be read: ${error.message}`;
    const known = this.#withheld.get(repository);
    if (known?.why === why) return known.issues;
    const last = this.#last.get(repository) ?? [];
    const issues = last.map((issue) => ({
      ...issue,
      ...{ dispatchable: false, withheld: why, withheldBy: "repository" as const },
    }));
    this.#withheld.set(repository, { why, issues });
    return issues;
  }
}
