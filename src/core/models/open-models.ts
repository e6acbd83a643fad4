import type { Config } from "../config/config.ts";
import type { CoreOptions } from "../core.ts";
import { runIdOf } from "../run-id.ts";
import { ModelList } from "./model-list.ts";

interface Edges {
  config(): Config;
  /** The value behind `$NAME`. */
  lookup(name: string): string | undefined;
  secretEnvNames(): readonly string[];
}

/** The list of a running server; a key that it uses is from then on shown nowhere. */
export function openModels(options: CoreOptions, edges: Edges): ModelList {
  const { clock, env, version, redactor, dataDir } = options;
  return new ModelList({
    ...{ clock, env, version, runId: runIdOf(dataDir, "models") },
    ...edges,
    lookup(name) {
      const value = edges.lookup(name);
      if (value !== undefined) redactor.add(value);
      return value;
    },
  });
}
