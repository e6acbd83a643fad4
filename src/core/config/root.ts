import { createHash } from "node:crypto";
import { basename, dirname, join, resolve } from "node:path";
import { invalidConfig } from "./schema.ts";

/** What the directory of all workspaces depends on. */
export interface RootContext {
  /** Absolute. */
  readonly workflowPath: string;
  readonly home: string;
  readonly env: Readonly<Record<string, string | undefined>>;
}

const variable = /^\$([A-Za-z_][A-Za-z0-9_]*)(?=\/|$)/;

/**
 * The absolute path of `workspace.root`: `~`, a leading `$NAME`, or relative to the workflow
 * file's directory. If it is omitted or names an unset variable, it is the project's own directory below
 * `~/.symphony/workspaces`: sandboxed agents may write to the system's temporary folder. Throws `invalid_config`.
 */
export function workspaceRoot(written: string | undefined, place: RootContext): string {
  const directory = dirname(place.workflowPath);
  const path = expanded(written?.trim() ?? "", place);
  if (path === null) return defaultRoot(directory, place.home);
  const root = resolve(directory, path);
  if (root === dirname(root)) throw problem("must not be the root of the file system");
  return root;
}

/** null: the default. */
function expanded(written: string, { env, home }: RootContext): string | null {
  if (written.includes("\0")) throw problem("must not hold a NUL character");
  const name = variable.exec(written)?.[1];
  const value = name === undefined ? "" : (env[name]?.trim() ?? "");
  if (written === "" || (name !== undefined && value === "")) return null;
  const path = written.replace(variable, () => value);
  if (!path.startsWith("~")) return path;
  if (path !== "~" && !path.startsWith("~/"))
    throw problem("may begin with ~/, not with ~ and a name");
  return join(home, path.slice(1));
}

function defaultRoot(directory: string, home: string): string {
  const project = basename(directory).replaceAll(/[^A-Za-z0-9._-]/g, "_");
  // Two projects with the same name must never share their workspaces.
  const hash = createHash("sha256").update(directory).digest("hex").slice(0, 8);
  return join(home, ".symphony", "workspaces", `${project || "project"}-${hash}`);
}

function problem(message: string) {
  return invalidConfig([{ path: "workspace.root", message, isRule: true }]);
}
