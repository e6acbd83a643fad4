import { basename } from "node:path";
import { SymphonyError } from "../model/errors.ts";
import { displayText, sizeText } from "../text/text.ts";
import type { Left, Place } from "./book.ts";
import { lost } from "./command-line.ts";

// What is said of a workspace on a host.

export function nameOf({ host, remotePath }: Left): string {
  return `${remotePath} on ${host}`;
}

/** `by`: what the other server wrote there. */
export function foreign(host: string, path: string, by: string): SymphonyError {
  const [id = "", ...name] = displayText(by, 300).split(" ");
  const message = `${host}: the workspace ${path} is that of another server, ${name.join(" ")} (${id})`;
  return new SymphonyError("workspace_prepare_failed", message, {
    hint: `give this server a workspace.root of its own on that host; or, if the other one is no more (its data directory was made anew), end the processes there with SYMPHONY_RUN_ID=ssh-${id}-… and remove .symphony-ssh/${basename(path)}.owner in the root of its workspaces: the directory is then moved aside, never deleted`,
  });
}

/** `by`: what the server that was started later wrote there. */
export function overtaken(host: string, by: string): SymphonyError {
  const name = displayText(by, 300).split(" ").slice(1).join(" ");
  const why = `a server that was started later with the same data directory, or a copy of it, uses it: ${name}`;
  return lost(host, why, "end one of the two, and start the other again");
}

/** `other`: the name by which the same machine and login is used. */
export function twice(host: string, other: string): SymphonyError {
  const why = `it is the machine and login of ${other} by another name`;
  return lost(host, why, `take one of the two names off worker.ssh_hosts`);
}

export function notPrepared(host: string, why: string): SymphonyError {
  return new SymphonyError("workspace_prepare_failed", `${host}: ${why}`);
}

export function notSent(place: Place, why: string): SymphonyError {
  const message = `what changed here cannot be sent to ${nameOf(place)}: ${why}`;
  return new SymphonyError("workspace_prepare_failed", message);
}

export function tooLarge(place: Place, size: number, maxBytes: number): SymphonyError {
  const sizes = `it is ${sizeText(size)} as a git bundle, and fleet.max_copy is ${sizeText(maxBytes)}`;
  const message = `what is in ${nameOf(place)} stays there: ${sizes}`;
  return new SymphonyError("workspace_error", message, { hint: "raise fleet.max_copy" });
}

/** `said`: the last line of git. */
export function unread(place: Place, said: string): SymphonyError {
  const why = `git cannot read it${said === "" ? "" : `: ${displayText(said, 300)}`}`;
  const message = `what is in ${nameOf(place)} has not come back and stays there: ${why}`;
  return new SymphonyError("workspace_error", message);
}

/** For a script that reads its variables from stdin. */
export function linesOf(variables: Readonly<Record<string, string>>): Buffer {
  return Buffer.from(
    Object.entries(variables)
      .map(([name, value]) => `${name}=${value}\0`)
      .join(""),
  );
}
