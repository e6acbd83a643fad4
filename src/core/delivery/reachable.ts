import type { Config } from "../config/config.ts";
import type { RepositoryConfig } from "../config/git.ts";
import { adviceOf } from "../model/errors.ts";
import { ForgeError } from "../model/forge-error.ts";
import type { Forge, ForgeRepository } from "./forge.ts";

interface Sites {
  /** As `Reach.forgeFor`. */
  forgeFor(repository: RepositoryConfig): Forge | null;
}

/**
 * Why pull requests cannot be opened in a configured repository, or that it has another name now, each with what mends it;
 * empty when nothing is known against it. Never rejects. Agents can work all the same: their work is kept.
 */
export async function siteProblems(
  { delivery, git }: Pick<Config, "delivery" | "git">,
  { forgeFor }: Sites,
): Promise<readonly string[]> {
  if (delivery.mode !== "pull_request") return [];
  const found = git.repositories.map((rule) => problemOf(rule, { forgeFor }));
  return (await Promise.all(found)).flatMap((problem) => problem ?? []);
}

/** That the repository has another name than its address says, and what to write there; null: it has not. */
export function renamed(
  { name: rule }: Pick<RepositoryConfig, "name">,
  { name, configured }: Pick<ForgeRepository, "name" | "configured">,
): string | null {
  if (name.toLowerCase() === configured.toLowerCase()) return null;
  return `${configured} is ${name} now; next: write ${name} instead of ${configured} in the url of ${rule} in git.repositories`;
}

/** The same where git could not follow. */
export async function redirected(rule: RepositoryConfig, forge: Forge | null): Promise<string> {
  const found = await forge?.look().catch(() => null);
  const said = found ? renamed(rule, found) : null;
  return (
    said ??
    `the site redirects ${rule.address.address}; next: write its new address in the url of ${rule.name} in git.repositories`
  );
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
