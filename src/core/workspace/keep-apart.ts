import { basename } from "node:path";
import { workspaceKey } from "./key.ts";
import type { RemovalTarget, Workspaces } from "./workspaces.ts";

/**
 * `inner`, where a workspace that is being removed is neither removed again nor given to an attempt until that is over.
 * A removal counts from the moment of the call.
 */
export function keepApart(inner: Workspaces): Workspaces {
  const removals = new Map<string, Promise<unknown>>();
  const over = async (key: string) => {
    for (let work = removals.get(key); work; work = removals.get(key)) {
      await work.catch(() => {
        // Whoever asked for it hears of it.
      });
    }
  };
  return {
    async ensure(issue, signal, tell) {
      await over(workspaceKey(issue.identifier));
      return inner.ensure(issue, signal, tell);
    },
    async remove(target) {
      const key = keyOf(target);
      if (removals.has(key)) await over(key);
      const work = inner.remove(target);
      removals.set(key, work);
      try {
        return await work;
      } finally {
        removals.delete(key);
      }
    },
    beforeRun: (workspace, issue, signal) => inner.beforeRun(workspace, issue, signal),
    afterRun: (workspace, issue) => inner.afterRun(workspace, issue),
    pathOf: (identifier) => inner.pathOf(identifier),
    requireCwd: (path) => inner.requireCwd(path),
  };
}

function keyOf({ path, issue }: RemovalTarget): string {
  if (path !== null) return basename(path);
  return issue === null ? "" : workspaceKey(issue.identifier);
}
