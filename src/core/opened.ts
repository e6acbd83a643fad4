import type { Logger } from "./logger.ts";
import { messageOf } from "./model/errors.ts";

/** How to close what was opened, in the order of opening. */
export type Opened = (() => unknown)[];

/** Last opened, first closed; one that fails does not keep the others open. */
export async function closeAll(opened: Opened, log: Logger): Promise<void> {
  for (const close of opened.splice(0).reverse()) {
    try {
      await close();
    } catch (error) {
      log.error("closing failed", { reason: messageOf(error) });
    }
  }
}
