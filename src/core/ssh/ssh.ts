import { hostname } from "node:os";
import type { AgentRuntime } from "../agent/agent.ts";
import type { Workspaces } from "../workspace/workspaces.ts";
import { Book } from "./book.ts";
import { type HostsDeps, SshHosts } from "./hosts.ts";
import { type SshRuntimeOptions, sshRuntime } from "./runtime.ts";
import { SshWorkspaces } from "./workspaces.ts";

type Options = Omit<HostsDeps, "book" | "greeted" | "name"> & { readonly dataDir: string };

/** The attempts that run on hosts, as the server connects them. */
export class Ssh {
  readonly hosts: SshHosts;
  readonly workspaces: SshWorkspaces;
  readonly #options: Options;
  readonly #book: Book;

  private constructor(options: Options, book: Book) {
    this.#options = options;
    this.#book = book;
    const name = `${hostname()}:${options.dataDir}`;
    this.hosts = new SshHosts({
      ...{ ...options, book, name },
      greeted: (host) => this.workspaces.sweep(host),
    });
    this.workspaces = new SshWorkspaces({ ...options, hosts: this.hosts, book, name });
  }

  /** Rejects with `storage_corrupt` or `storage_unavailable`. */
  static async open(options: Options): Promise<Ssh> {
    return new Ssh(options, await Book.open(options.dataDir));
  }

  /** The workspace of an issue on its host; null: it is on this machine. */
  placeOf(issueId: string): { readonly host: string; readonly path: string } | null {
    const place = this.#book.placeOf(issueId);
    return place && { host: place.host, path: place.remotePath };
  }

  /** The host that has the workspace whose directory here is `path`; null: it is on this machine alone. */
  hostAt(path: string): string | null {
    const id = this.#book.issueAt(path);
    return id === null ? null : (this.#book.placeOf(id)?.host ?? null);
  }

  workspacesOn(host: string, local: Workspaces): Workspaces {
    return this.workspaces.on(host, local);
  }

  runtime(
    of: Pick<SshRuntimeOptions, "attemptId" | "issueId" | "agent" | "kind" | "host" | "settings">,
  ): AgentRuntime {
    const { hosts, workspaces } = this;
    return sshRuntime({ ...this.#options, ...of, hosts, workspaces, book: this.#book });
  }
}
