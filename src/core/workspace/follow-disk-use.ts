import type { Bus } from "../bus.ts";
import type { Logger } from "../logger.ts";
import { messageOf } from "../model/errors.ts";
import type { WorkspaceDesk } from "./desk.ts";

/** After these, workspaces may take more or less than they did. */
const changing: ReadonlySet<string> = new Set([
  "server.started",
  "turn.completed",
  "attempt.ended",
  "workspace.removed",
]);

/** Keeps the measured disk use near the truth while work goes on, so that nobody who asks has to wait. Returns how to stop. */
export function followDiskUse(
  bus: Pick<Bus, "subscribe">,
  desk: Pick<WorkspaceDesk, "measure">,
  log: Pick<Logger, "warn">,
): () => void {
  let underWay = false;
  return bus.subscribe({}, ({ type }) => {
    if (underWay || !changing.has(type)) return;
    underWay = true;
    desk
      .measure()
      .catch((error) => log.warn("disk use not measured", { reason: messageOf(error) }))
      .finally(() => {
        underWay = false;
      });
  });
}
