import { secretNamesOf } from "./config/config.ts";
import type { CoreDeps, CoreOptions } from "./core.ts";
import { Notices } from "./notify/notices.ts";
import { runIdOf } from "./process/table.ts";

/** The notices of a running server, not yet started. They read what the scheduler knows, and change nothing of it. */
export function openNotices(
  { env, dataDir, workflowPath, redactor, url }: CoreOptions,
  { clock, log, bus, config, trackers, orchestrator }: CoreDeps,
  lookup: (name: string) => string | undefined,
): Notices {
  const current = () => config.current.config;
  return new Notices({
    ...{ clock, log, bus, dataDir, env, workflowPath, redactor, lookup },
    platform: process.platform,
    runId: runIdOf(dataDir, "notify"),
    base: () => current().server.publicUrl ?? url?.() ?? null,
    secretNames: () => secretNamesOf(current(), trackers.tracker),
    rules: () => current().notify,
    titleOf: (issueId) => orchestrator().state.issues.get(issueId)?.issue.title ?? null,
  });
}

/** Starts them, and follows each change of their rules. Returns how to stop following. */
export function followNotices(notices: Notices, { config }: Pick<CoreDeps, "config">): () => void {
  notices.follow();
  return config.watch((change) => {
    if (change.type === "changed" && change.keys.some((key) => /^notify(?:\.|$)/.test(key))) {
      notices.follow();
    }
  });
}
