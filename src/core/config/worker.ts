import { z } from "zod";
import { positive, section, text } from "./agents.ts";

/** Attempts on hosts that are reached by ssh. */
export interface WorkerConfig {
  /** As ssh takes them, `user@host:port` too; empty: attempts run on this machine. */
  readonly sshHosts: readonly string[];
  /** Attempts at the same time on each host; null: as many as `agent.max_concurrent_agents`. */
  readonly maxPerHost: number | null;
  /** The directory of workspaces on each host: absolute, `~/…`, or relative to the home there. */
  readonly root: string;
}

/** A first `-` would be an option of ssh. */
const host = text
  .transform((value) => value.trim())
  .refine((value) => !/^-|[\s\p{Cc}]/u.test(value), "must be a host such as build-1 or me@host:22");

export const workerSection = section({
  ssh_hosts: z.array(host, "must be a list").default([]),
  max_concurrent_agents_per_host: positive.nullable().default(null),
});

/** `written`: `workspace.root`; `root`: what it is on this machine. */
export function workerConfigOf(
  { ssh_hosts: hosts, max_concurrent_agents_per_host: maxPerHost }: z.output<typeof workerSection>,
  { written = "", root }: { readonly written?: string | undefined; readonly root: string },
): WorkerConfig {
  const own = written.trim();
  return {
    sshHosts: [...new Set(hosts.filter((one) => one !== ""))],
    maxPerHost,
    root:
      own === ""
        ? `~/.symphony/workspaces/${root.slice(root.lastIndexOf("/") + 1)}`
        : own.startsWith("$")
          ? root
          : own,
  };
}
