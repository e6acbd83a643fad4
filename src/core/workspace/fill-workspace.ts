import { randomUUID } from "node:crypto";
import type { Clock } from "../clock.ts";
import type { GitConfig } from "../config/git-section.ts";
import { cloneInto } from "./clone.ts";
import { repositoryFor } from "./git-routing.ts";
import type { FreshWorkspace } from "./workspaces.ts";

interface Parts {
  git(): GitConfig;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  /** The value behind `$NAME`. */
  lookup(name: string): string | undefined;
  /** Told of each credential before it is used, so that nothing shows it. */
  learn(secret: string): void;
  /** The cookie of hooks, by which a later start finds what a crash left. */
  readonly runId: string;
}

/** Fills a new workspace with the clone that the routing rules say; one that fits no rule stays empty. */
export function fillWorkspace(parts: Parts): (fresh: FreshWorkspace) => Promise<void> {
  return async ({ issue, path, signal, tell }) => {
    const { repositories, timeoutMs } = parts.git();
    const repository = repositoryFor(issue, repositories);
    if (repository === null) {
      if (repositories.length > 0) tell(`no repository is for ${issue.identifier}`);
      return;
    }
    const { env, clock } = parts;
    const lookup = (name: string) => {
      const value = parts.lookup(name);
      if (value !== undefined) parts.learn(value.trim());
      return value;
    };
    const runId = `${parts.runId}/clone-${randomUUID()}`;
    const order = { repository, issue, path, env, clock, lookup, timeoutMs, runId, signal, tell };
    await cloneInto(order);
  };
}
