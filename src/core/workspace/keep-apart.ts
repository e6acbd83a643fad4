import { basename } from "node:path";
import { workspaceKey } from "./key.ts";
import type { RemovalTarget, Workspaces } from "./workspaces.ts";

/**
 * `inner`, where a workspace that is being looked at or removed is neither removed again nor given to an attempt until that
 * is over. A removal counts from the moment of the call.
 */
export function keepApart(inner: Workspaces): Workspaces {
  const removals = new Map<string, Promise<unknown>>();
  /** Whoever asked for a removal hears how it ended; the others only wait for it. */
  const over = async (key: string) => {
    await removals.get(key)?.catch(() => {});
  };
  const alone = async <T>(target: RemovalTarget, work: () => Promise<T>): Promise<T> => {
    const key = keyOf(target);
    // Of several that waited, the first to go on keeps the others waiting.
    while (removals.has(key)) await over(key);
    const working = work();
    removals.set(key, working);
    try {
      return await working;
    } finally {
      removals.delete(key);
    }
  };
  return {
    async ensure(issue, signal, tell) {
      const key = workspaceKey(issue.identifier);
      while (removals.has(key)) await over(key);
      return inner.ensure(issue, signal, tell);
    },
    remove: (target, operator) => alone(target, () => inner.remove(target, operator)),
    look: (target) => alone(target, () => inner.look(target)),
    finishRemovals: () => inner.finishRemovals(),
    beforeRun: (workspace, issue, signal) => inner.beforeRun(workspace, issue, signal),
    afterRun: (workspace, issue) => inner.afterRun(workspace, issue),
    root: () => inner.root(),
    pathOf: (identifier) => inner.pathOf(identifier),
    requireCwd: (path) => inner.requireCwd(path),
  };
}

function keyOf({ path, issue }: RemovalTarget): string {
  if (path !== null) return basename(path);
  return issue === null ? "" : workspaceKey(issue.identifier);
}
