import { adviceOf } from "./model/errors.ts";
import { needsRestart } from "./model/restart.ts";
import type { Orchestrator } from "./orchestrator/orchestrator.ts";
import type { RealParts } from "./ports.ts";

/** Takes over each good edit of the workflow file and shows each bad one. Returns how to stop. */
export function followConfig(parts: RealParts, orchestrator: Orchestrator): () => void {
  const { config, trackers, bus, log } = parts;
  return config.watch((change) => {
    if (change.type === "rejected") {
      const { code, message } = change.problem;
      log.error("configuration rejected", { code, reason: message });
      bus.publish({ type: "config.rejected", message, data: { code } });
      return;
    }
    try {
      trackers.follow(config.current.config.tracker);
    } catch (error) {
      log.error("the tracker stays as it was", { reason: adviceOf(error) });
    }
    for (const warning of change.warnings) log.warn("configuration", { warning });
    log.info("configuration changed", { outcome: "applied", keys: change.keys.join(",") });
    const atRestart = change.keys.filter((key) => needsRestart.includes(key));
    const later = atRestart.length > 0 ? ` (${atRestart.join(", ")} at the next start)` : "";
    bus.publish({
      type: "config.changed",
      message: `changed: ${change.keys.join(", ")}${later}`,
      data: { keys: change.keys, needs_restart: atRestart },
    });
    orchestrator.post({ type: "config.changed" });
  });
}
