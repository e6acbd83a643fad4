import { SymphonyError } from "../model/errors.ts";
import { type Work, workInWords } from "../model/work.ts";
import { shellQuoted } from "../text/text.ts";
import type { KeptCopy } from "./copies.ts";

// Why a requested workspace is not shown or removed.

export function notFound(name: string): SymphonyError {
  return new SymphonyError("workspace_not_found", `there is no workspace ${name}`, {
    hint: "symphony workspaces list",
  });
}

/** It had a workspace, and neither that nor a copy of it is there. */
export function removed(identifier: string): SymphonyError {
  const message = `neither the workspace of ${identifier} nor a kept copy of it is there any more, and nothing of it was pushed`;
  const hint = `symphony audit --issue ${shellQuoted(identifier)} says who removed it and when`;
  return new SymphonyError("workspace_not_found", message, { hint });
}

/** `command` is the command that takes the path of the right one. */
export function ambiguous(key: string, paths: readonly string[], command: string): SymphonyError {
  const message = `${paths.length} directories have the key ${key}: ${paths.join(", ")}`;
  return new SymphonyError("workspace_ambiguous", `${message}; name the one you mean by its path`, {
    details: { paths },
    hint: `${command} ${shellQuoted(paths[0] ?? key)}`,
  });
}

/** `isAttached`: a person works in it, and no agent. */
export function inUse(key: string, identifier: string, isAttached: boolean): SymphonyError {
  const who = isAttached ? "a person works" : "an agent is running";
  return new SymphonyError("workspace_in_use", `${who} in ${key}`, {
    hint: isAttached ? `symphony attach ${identifier} --done` : `symphony abort ${identifier}`,
  });
}

/** `name` is what the caller used: the key or the path. */
export function dirty(name: string, path: string, work: readonly Work[]): SymphonyError {
  const message = `${name} holds work that is nowhere else and would be lost: ${workInWords(work)}`;
  return new SymphonyError("workspace_dirty", message, {
    details: { path, holds: work },
    hint: `symphony workspaces remove ${shellQuoted(name)} --force`,
  });
}

export function onlyCopy({ key, path, summary }: KeptCopy): SymphonyError {
  const message = `${key} is a kept copy, perhaps the last one of its work: ${summary}`;
  return new SymphonyError("workspace_dirty", message, {
    details: { path },
    hint: `symphony workspaces remove ${shellQuoted(key)} --force`,
  });
}
