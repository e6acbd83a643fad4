import { z } from "zod";
import { ForgeError } from "../model/forge-error.ts";
import type { GithubClient } from "./client.ts";

const user = z.object({ login: z.string() }).nullish();
const permission = z.object({ permission: z.string() });

/** Who a client's credential is, and what other people may do. */
export class GithubAccount {
  readonly #client: GithubClient;
  #known: { readonly credential: string; readonly login: string | null } | null = null;

  constructor(client: GithubClient) {
    this.#client = client;
  }

  /** As it was asked last; null: not yet, or there is none. */
  get knownLogin(): string | null {
    return this.#known?.login ?? null;
  }

  /** null: the credential belongs to no user. Asked again when another token has been set. */
  async login(): Promise<string | null> {
    const { credentials } = this.#client;
    const credential = credentials.identity();
    if (this.#known?.credential === credential) return this.#known.login;
    const login = (await credentials.appLogin()) ?? (await this.#userLogin());
    this.#known = { credential, login };
    return login;
  }

  /** Whether a person may write to the repository; null: it could not be asked, which says nothing about the person. */
  async mayWrite(login: string, place: { readonly repo?: string } = {}): Promise<boolean | null> {
    const route = "GET /repos/{owner}/{repo}/collaborators/{login}/permission";
    try {
      const { permission: level } = await this.#client.read(permission, route, { ...place, login });
      return level === "admin" || level === "write" || level === "maintain";
    } catch (error) {
      if (!(error instanceof ForgeError)) throw error;
      return error.category === "not_found" ? false : null;
    }
  }

  /** A token of Actions belongs to no user: it gets 403. */
  async #userLogin(): Promise<string | null> {
    try {
      return (await this.#client.read(user, "GET /user"))?.login ?? null;
    } catch (error) {
      if (error instanceof ForgeError && error.category === "forbidden") return null;
      throw error;
    }
  }
}
