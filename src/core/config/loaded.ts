import { createHash } from "node:crypto";
import { homedir } from "node:os";
import { isDeepStrictEqual } from "node:util";
import type { Clock } from "../clock.ts";
import { parseWorkflow } from "../workflow/load.ts";
import type { Config } from "./config.ts";
import { toConfig } from "./effective.ts";
import { leavesOf, type Origin } from "./layers.ts";
import type { Overlay } from "./overlay.ts";
import { type ConfigFlags, resolveConfig } from "./resolve.ts";
import { workspaceRoot } from "./root.ts";
import type { Written } from "./schema.ts";

/** A configuration and the prompt that came with it: they change together or not at all. */
export interface Effective {
  readonly config: Config;
  readonly promptTemplate: string;
  /** The same configuration with the keys of the file, unknown ones included; `$NAME` is not looked up. */
  readonly written: Written;
  /** By dotted path, for every leaf of `written`. */
  readonly origins: Readonly<Record<string, Origin>>;
}

export interface ConfigOptions {
  readonly workflowPath: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly flags: ConfigFlags;
  readonly clock: Clock;
  /** The user's home directory; the system's answer if left out. */
  readonly home?: string;
  readonly overlay?: Overlay;
  /** Puts a new overlay on disk; where it is left out the overlay cannot be changed. */
  saveOverlay?(overlay: Overlay): Promise<void>;
  /** A further check, such as the tracker adapter's; what it throws refuses the file. */
  validate?(config: Config): void;
}

export interface Loaded {
  readonly hash: string;
  readonly effective: Effective;
  readonly warnings: readonly string[];
}

/** The workflow file with everything that lies on top of it. Throws what is wrong with any of them. */
export function load(content: Uint8Array, options: ConfigOptions): Loaded {
  const { workflowPath, env, flags, overlay = {}, home = homedir() } = options;
  const workflow = parseWorkflow(content, workflowPath);
  const resolved = resolveConfig({ workflow: workflow.config, env, overlay, flags });
  const root = workspaceRoot(resolved.written.workspace.root, { workflowPath, env, home });
  const written = { ...resolved.written, workspace: { ...resolved.written.workspace, root } };
  const config = toConfig(written, root);
  options.validate?.(config);
  return {
    hash: hashOf(content),
    effective: {
      config,
      promptTemplate: workflow.promptTemplate,
      written,
      origins: { "workspace.root": "default", ...resolved.origins },
    },
    warnings: resolved.warnings,
  };
}

/** The dotted paths that differ, `prompt` among them. */
export function changedKeys(before: Effective, after: Effective): readonly string[] {
  const old = leavesOf(before.written);
  const now = leavesOf(after.written);
  const paths = [...new Set([...old.keys(), ...now.keys()])];
  const differs = (path: string) => !isDeepStrictEqual(old.get(path), now.get(path));
  const prompt = before.promptTemplate === after.promptTemplate ? [] : ["prompt"];
  return [...paths.filter(differs), ...prompt].sort();
}

export function hashOf(content: Uint8Array): string {
  return createHash("sha256").update(content).digest("hex");
}
