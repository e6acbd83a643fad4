import { basename, isAbsolute } from "node:path";

/** A workspace as a person named it: by its key, or by its absolute path where several have the key. */
export interface NamedWorkspace {
  readonly key: string;
  /** null when the key is enough. */
  readonly path: string | null;
}

export function workspaceNamed(name: string): NamedWorkspace {
  if (!isAbsolute(name)) return { key: name, path: null };
  // A shell completes a directory with a slash at its end.
  const path = name.replace(/(?<=[^/])\/+$/, "");
  return { key: basename(path), path };
}
