import type { Attempt } from "../model/attempt.ts";
import { redactDeep } from "../text/redact.ts";
import type { IssueRecord, Store } from "./store.ts";

/**
 * `store` that removes known secrets from the text of agents, trackers and hooks before it reaches the disk: the errors of
 * attempts and issues, and the audit log. An operator's text for an agent is kept as written.
 */
export function redactedStore(store: Store, redact: (text: string) => string): Store {
  const { history, records, agentPauses } = store;
  return {
    ...store,
    records: {
      all: () => records.all(),
      put: (id, record) => records.put(id, record && recordWithout(record, redact)),
    },
    agentPauses: {
      ...agentPauses,
      put: (pauses) => agentPauses.put(redactDeep(pauses, redact)),
    },
    history: {
      ...history,
      saveAttempt: (attempt) => history.saveAttempt(attemptWithout(attempt, redact)),
      saveUsed: (used) =>
        history.saveUsed({ ...used, attempt: attemptWithout(used.attempt, redact) }),
      audit: (entry, intent) => history.audit(redactDeep(entry, redact), intent),
      auditSoon: (entries) => history.auditSoon(redactDeep(entries, redact)),
      auditIntent: (entry) => history.auditIntent(redactDeep(entry, redact)),
    },
  };
}

function attemptWithout(attempt: Attempt, redact: (text: string) => string): Attempt {
  const { error } = attempt;
  return error ? { ...attempt, error: redactDeep(error, redact) } : attempt;
}

function recordWithout(record: IssueRecord, redact: (text: string) => string): IssueRecord {
  const { held, failed, retry } = record;
  return {
    ...record,
    held: redactDeep(held, redact),
    failed: redactDeep(failed, redact),
    retry: redactDeep(retry, redact),
  };
}
