import type { Bus } from "./bus.ts";
import type { Logger } from "./logger.ts";
import { messageOf } from "./model/errors.ts";
import { completedKept, type State } from "./orchestrator/state.ts";
import type { History } from "./store/store.ts";

interface Parts {
  readonly bus: Bus;
  readonly history: History;
  readonly log: Logger;
  state(): State;
}

/** Writes down each issue that is completed, for the list after a restart. Ends with the bus. */
export function keepCompleted({ bus, history, log, state }: Parts): void {
  bus.subscribe({ filter: { types: ["issue.completed"] } }, ({ issueId }) => {
    const row = issueId === null ? undefined : state().completed.get(issueId);
    // One that was started again meanwhile is on the list no more.
    if (row === undefined) return;
    try {
      // What no list shows is left out.
      const issue = { ...row.issue, description: null, nativeRef: null };
      history.saveCompleted({ ...row, issue }, completedKept);
    } catch (error) {
      log.warn("completed issue not kept", { reason: messageOf(error) });
    }
  });
}
