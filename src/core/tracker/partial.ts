import type { Issue } from "../model/issue.ts";

/** Reads of a scope of several repositories, which one that cannot be read does not fail. */
export interface PartialReads {
  /** Rejects when none of them can be read. An unread one's issues are withheld, as they were read last. */
  byStates(states: readonly string[]): Promise<PartialRead>;
  /** An issue that was not read is in `unread`, and nowhere else. */
  byIds(ids: readonly string[]): Promise<PartialRead>;
}

export interface PartialRead {
  readonly issues: readonly Issue[];
  /** null: everything was read. */
  readonly unread: Unread | null;
}

/** What could not be read, and why. */
export interface Unread {
  readonly code: string;
  /** It names the repository. */
  readonly message: string;
  /** Of a read by id the ids; of a list how the ids of the repository's issues begin. */
  readonly ids: readonly string[];
}
