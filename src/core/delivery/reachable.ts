import type { Config } from "../config/config.ts";
import { type DeliveryConfig, forgeCredentialName } from "../config/delivery.ts";
import type { RepositoryConfig } from "../config/git.ts";
import { adviceOf } from "../model/errors.ts";
import { ForgeError } from "../model/forge-error.ts";
import { type Refusal, type RemoteOrder, tryPush } from "../repository/push.ts";
import type { Forge, ForgeRepository } from "./forge.ts";
import { siteCredential } from "./kinds.ts";

interface Sites {
  /** As `Reach.forgeFor`. */
  forgeFor(repository: RepositoryConfig): Forge | null;
  /** As `trialPush`; omitted: it was tried before. */
  tryPush?(repository: RepositoryConfig): Promise<Refusal | null>;
}

/** What a trial of git needs. */
export interface Trial {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly runId: string;
  readonly timeoutMs: number;
  /** Omitted: it ends by itself. */
  readonly signal?: AbortSignal;
  /** The value behind `$NAME`. */
  lookup(name: string): string | undefined;
  /** Called with each credential before it is used, so that it is redacted. */
  learn(secret: string): void;
}

const trialBranch = "symphony/doctor-dry-run";

/** How git reaches a repository, with the credential of its address, else with that of its site. */
export async function trialOrder(
  { address }: RepositoryConfig,
  forge: Forge | null,
  { lookup, learn, ...reach }: Trial,
): Promise<RemoteOrder> {
  const { login } = address;
  const own = login && { user: login.user, password: lookup(login.secret)?.trim() ?? "" };
  const credential = own ?? (await siteCredential(address, () => forge));
  if (credential !== null && credential.password !== "") learn(credential.password);
  return { signal: new AbortController().signal, ...reach, address, credential };
}

/** Whether the remote would take a push, without writing there. Returns the refusal; null: it would. */
export async function trialPush(
  rule: RepositoryConfig,
  forge: Forge | null,
  trial: Trial,
): Promise<Refusal | null> {
  return tryPush(await trialOrder(rule, forge, trial), trialBranch);
}

/**
 * Why a configured repository would take no push or pull requests, or that it has another name now, each with what mends it;
 * empty when nothing is known against it. Never rejects. Agents can work all the same: their work is kept.
 */
export async function siteProblems(
  { delivery, git }: Pick<Config, "delivery" | "git">,
  { forgeFor, tryPush }: Sites,
): Promise<readonly string[]> {
  if (delivery.mode === "none") return [];
  const found = git.repositories.map((rule) =>
    delivery.mode === "branch"
      ? refusedPush(rule, delivery, tryPush)
      : problemOf(rule, { forgeFor }),
  );
  return (await Promise.all(found)).flatMap((problem) => problem ?? []);
}

async function refusedPush(
  rule: RepositoryConfig,
  delivery: DeliveryConfig,
  tryPush: Sites["tryPush"],
): Promise<string | null> {
  const { name, address } = rule;
  const secret = address.login?.secret ?? forgeCredentialName(delivery);
  try {
    const refusal = (await tryPush?.(rule)) ?? null;
    if (refusal === null) return null;
    const isHttp = /^https?$/.test(address.protocol);
    const next =
      refusal.category === "permission" && isHttp
        ? `symphony secrets add ${secret}`
        : `git ls-remote ${address.address}`;
    return `pushes to ${name} would be refused: ${refusal.reason}; next: ${next}`;
  } catch (error) {
    return `whether ${name} takes pushes is not known: ${adviceOf(error)}`;
  }
}

/** That the repository has another name than its address says, and what to write there; null: it has not. */
function renamed(
  { name: rule }: Pick<RepositoryConfig, "name">,
  { name, configured }: Pick<ForgeRepository, "name" | "configured">,
): string | null {
  if (name.toLowerCase() === configured.toLowerCase()) return null;
  return `${configured} is ${name} now; next: write ${name} instead of ${configured} in the url of ${rule} in git.repositories`;
}

/** The same where git could not follow, and what to type then. */
export async function redirected(
  rule: RepositoryConfig,
  { issueIdentifier }: { readonly issueIdentifier: string },
  forge: Forge | null,
): Promise<string> {
  const found = await forge?.look().catch(() => null);
  const known = found ? renamed(rule, found) : null;
  const said = `the site redirects ${rule.address.address}; next: write its new address in the url of ${rule.name} in git.repositories`;
  return `${known ?? said}, then symphony deliver ${issueIdentifier}`;
}

async function problemOf(rule: RepositoryConfig, { forgeFor }: Sites): Promise<string | null> {
  const none = (why: string) => `no pull requests for ${rule.name}: ${why}`;
  try {
    const forge = forgeFor(rule);
    if (forge === null) {
      return none(
        `${rule.address.address} is not at the site of delivery.github; set delivery.github.base_url, or delivery.mode: branch`,
      );
    }
    const found = await forge.look();
    const { name, archived, canPush, login } = found;
    if (archived) {
      return none(`${name} is archived; unarchive it, or take it out of git.repositories`);
    }
    if (canPush !== false) return renamed(rule, found);
    const who = login === null ? "the credential" : `${login}, the user of the token,`;
    return none(
      `${who} may not push to ${name}; give it write access, or another token: symphony secrets add GITHUB_TOKEN`,
    );
  } catch (error) {
    if (!(error instanceof ForgeError)) return none(adviceOf(error));
    const next = mendedBy[error.category];
    return none(next === undefined ? error.message : `${error.message}; ${next}`);
  }
}

const mendedBy: Partial<Record<ForgeError["category"], string>> = {
  unauthorized: "store another token: symphony secrets add GITHUB_TOKEN",
  not_found: "the token does not see it: check its url, or symphony secrets add GITHUB_TOKEN",
  forbidden: "give the token that permission, or another one: symphony secrets add GITHUB_TOKEN",
};
