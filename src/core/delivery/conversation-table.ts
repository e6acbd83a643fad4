import type { Database, Params, Row } from "../store/database.ts";
import { text } from "../store/database.ts";

/** The kind of all writes to conversations, and of the steps that answer one. */
export const conversationKind = "conversation";

/** A conversation in the tracker that symphony answers. */
export interface Conversation {
  readonly id: string;
  readonly issueId: string;
  readonly issueIdentifier: string;
  /** False: nothing more is said in it by itself. */
  readonly live: boolean;
  /** When it was first reported, ms since the epoch. */
  readonly at: number;
  /** When it was opened, as the tracker says; null: it does not. Rows of an earlier release have none. */
  readonly openedAt?: number | null;
  /** What was said last about the issue's standing; null: nothing yet. */
  readonly said: string | null;
  /** When something was said last, ms since the epoch. */
  readonly saidAt: number;
  /** The addresses that it shows, as they were written. */
  readonly links: string;
  /** A person ended the run from within it. */
  readonly stopped: boolean;
}

export const conversationMigration = `
  CREATE TABLE conversations (
    id TEXT PRIMARY KEY,
    issue_id TEXT NOT NULL,
    live INTEGER NOT NULL,
    body TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX conversations_live ON conversations (issue_id) WHERE live = 1;
`;

/** Removes a write of what was said or linked that has ended: its key is not used again. */
export const forgetSaid = `DELETE FROM outbox WHERE id = $id AND kind = '${conversationKind}'
  AND state IN ('done', 'dropped') AND payload ->> 'step' IN ('say', 'link')`;

/** The conversations in `delivery.db`. Calls are synchronous; changes are durable when they return. */
export interface ConversationTable<NewEntry> {
  of(id: string): Conversation | null;
  live(): readonly Conversation[];
  /** Saves it, and orders writes, in one step. */
  save(conversation: Conversation, entries?: readonly NewEntry[]): void;
}

/** A file that the first write creates. */
export interface Opening {
  /** Creates the file if there is none. */
  open(): Database;
  /** null: nothing was written yet. */
  opened(): Database | null;
}

interface Opened<NewEntry> extends Opening {
  insert(entries: readonly NewEntry[]): void;
}

export function conversationTable<NewEntry>({
  open,
  opened,
  insert,
}: Opened<NewEntry>): ConversationTable<NewEntry> {
  const all = (sql: string, params: Params = {}) =>
    opened()?.all(conversationOf, sql, params) ?? [];
  const rows = all("SELECT body FROM conversations WHERE live = 1 ORDER BY id");
  const live = new Map(rows.map((one) => [one.id, one]));
  return {
    of: (id) =>
      live.get(id) ?? all("SELECT body FROM conversations WHERE id = $id", { id })[0] ?? null,
    live: () => [...live.values()],
    save(conversation, entries = []) {
      const { id, issueId } = conversation;
      open().transaction(() => {
        open().run(
          `INSERT INTO conversations (id, issue_id, live, body) VALUES ($id, $issueId, $live, $body)
            ON CONFLICT (id) DO UPDATE SET issue_id = $issueId, live = $live, body = $body`,
          { id, issueId, live: conversation.live ? 1 : 0, body: JSON.stringify(conversation) },
        );
        insert(entries);
      });
      if (conversation.live) live.set(id, conversation);
      else live.delete(id);
    },
  };
}

function conversationOf(row: Row): Conversation {
  return JSON.parse(text(row, "body"));
}
