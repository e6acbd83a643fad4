import type { Octokit } from "@octokit/core";
import { z } from "zod";
import type { Clock } from "../clock.ts";
import { ForgeError } from "../model/forge-error.ts";
import { shaped } from "./answers.ts";
import type { GithubCredential, GithubSettings } from "./settings.ts";

interface Deps {
  readonly settings: GithubSettings;
  readonly clock: Clock;
  /** `owner` and `repo` as they are now. */
  readonly place: () => { readonly owner: string; readonly repo: string };
  /** An octokit without a credential, or with that of the app. */
  readonly octokit: (app: AppCredential | null) => Promise<Octokit>;
  /** The ForgeError of whatever octokit threw. */
  readonly errorOf: (thrown: unknown) => ForgeError;
  readonly pause: (ms: number) => Promise<void>;
}

export type AppCredential = Extract<GithubCredential, { type: "app" }>;

interface Minted {
  readonly token: string;
  readonly at: number;
  /** On the monotonic clock. */
  readonly renewAt: number;
}

const minted = z.object({
  token: z.string().min(1),
  expires_at: z.iso.datetime({ offset: true }),
  permissions: z.record(z.string(), z.string()).default({}),
});
const found = z.object({ id: z.number() });
const appAnswer = z.object({ slug: z.string() });

/** A token is replaced this long before its end, or after four fifths of a short life. */
const marginMs = 5 * 60_000;
/** A new token may be refused until it has reached every server (octokit/handbook#2). */
const replicationMs = 5_000;
const maxTries = 4;

/** Where the token of each request comes from. An app's tokens live an hour; they are renewed here. */
export class GithubCredentials {
  readonly #deps: Deps;
  readonly #secrets = new Set<string>();
  #installation: number | null = null;
  #current: Minted | null = null;
  #minting: Promise<Minted> | null = null;
  /** What the installation was given, such as `contents: write`; null for a plain token. */
  permissions: Readonly<Record<string, string>> | null = null;

  constructor(deps: Deps) {
    this.#deps = deps;
  }

  /** Text without any token that was used so far. */
  readonly redact = (text: string): string => {
    let safe = text;
    for (const secret of this.#secrets) safe = safe.replaceAll(secret, "[redacted]");
    return safe;
  };

  /** The token for a request that starts now. */
  async token(): Promise<string> {
    const credential = this.#credential();
    if (credential.type === "token") return this.#known(credential.token);
    const { clock } = this.#deps;
    if (this.#current !== null && clock.now() < this.#current.renewAt) return this.#current.token;
    this.#minting ??= this.#mint(credential, null).finally(() => {
      this.#minting = null;
    });
    this.#current = await this.#minting;
    return this.#current.token;
  }

  /** A token with its whole life before it, for this one repository. */
  async fresh(repositoryId: number): Promise<string> {
    const credential = this.#credential();
    if (credential.type === "token") return this.#known(credential.token);
    return (await this.#mint(credential, repositoryId)).token;
  }

  /** After a 401 for `token`: whether it is worth another try, the `tries`-th. */
  async recover(token: string, tries: number): Promise<boolean> {
    if (this.#credential().type === "token" || tries >= maxTries) return false;
    if (this.#current?.token !== token) return true;
    const isYoung = this.#deps.clock.now() - this.#current.at < replicationMs;
    // The first answer to a young token may come from a server that it has not reached; the next means that it is revoked.
    if (isYoung && tries !== 2) await this.#deps.pause(1_000);
    else this.#current = null;
    return true;
  }

  /** Equal as long as requests are made by the same account. */
  identity(): string {
    const credential = this.#credential();
    return credential.type === "token" ? credential.token : `app ${credential.id}`;
  }

  /** The login that an app's comments have; null for a plain token. */
  async appLogin(): Promise<string | null> {
    const credential = this.#credential();
    if (credential.type === "token") return null;
    const { answer } = await this.#asApp(credential, appAnswer, "GET /app", {});
    return `${answer.slug}[bot]`;
  }

  #credential(): GithubCredential {
    try {
      return this.#deps.settings.credential();
    } catch (error) {
      throw new ForgeError(
        "unauthorized",
        error instanceof Error ? error.message : "no credential",
      );
    }
  }

  async #mint(credential: AppCredential, repositoryId: number | null): Promise<Minted> {
    const { clock } = this.#deps;
    const installation = credential.installation ?? (await this.#findInstallation(credential));
    const route = "POST /app/installations/{installation_id}/access_tokens";
    const { answer: made, theirs } = await this.#asApp(credential, minted, route, {
      installation_id: installation,
      ...(repositoryId === null ? {} : { repository_ids: [repositoryId] }),
    }).catch((error: unknown) => {
      // The app may have been installed anew, with another id.
      if (error instanceof ForgeError && error.category === "not_found") this.#installation = null;
      throw error;
    });
    this.permissions = made.permissions;
    // By GitHub's clock: ours may be wrong.
    const lifeMs = Math.max(Date.parse(made.expires_at) - (theirs ?? clock.wall()), 0);
    const at = clock.now();
    const renewAt = at + Math.max(lifeMs - marginMs, lifeMs * 0.8);
    return { token: this.#known(made.token), at, renewAt };
  }

  async #findInstallation(credential: AppCredential): Promise<number> {
    const route = "GET /repos/{owner}/{repo}/installation";
    if (this.#installation === null) {
      const { answer } = await this.#asApp(credential, found, route, { ...this.#deps.place() });
      this.#installation = answer.id;
    }
    return this.#installation;
  }

  async #asApp<T>(
    credential: AppCredential,
    schema: z.ZodType<T>,
    route: string,
    parameters: Readonly<Record<string, unknown>>,
  ): Promise<{ readonly answer: T; readonly theirs: number | null }> {
    const octokit = await this.#deps.octokit(credential);
    const response = await octokit.request(route, parameters).catch((thrown: unknown) => {
      throw this.#deps.errorOf(thrown);
    });
    const theirs = Date.parse(response.headers.date ?? "") || null;
    return { answer: shaped(schema, route, response.data), theirs };
  }

  #known(token: string): string {
    this.#secrets.add(token);
    return token;
  }
}
