import type { Config } from "../config/config.ts";
import type { RepositoryConfig } from "../config/git.ts";
import { adviceOf } from "../model/errors.ts";
import { ForgeError } from "../model/forge-error.ts";
import type { Forge } from "./forge.ts";

interface Sites {
  /** As `Reach.forgeFor`. */
  forgeFor(repository: RepositoryConfig): Forge | null;
}

/**
 * Why pull requests cannot be opened in a configured repository, each with what mends it; empty when
 * nothing is known against it. Never rejects. Agents can work all the same: their work is kept.
 */
export async function siteProblems(
  { delivery, git }: Pick<Config, "delivery" | "git">,
  { forgeFor }: Sites,
): Promise<readonly string[]> {
  if (delivery.mode !== "pull_request") return [];
  const found = git.repositories.map(async (rule) => {
    const problem = await problemOf(rule, { forgeFor });
    return problem === null ? [] : [`no pull requests for ${rule.name}: ${problem}`];
  });
  return (await Promise.all(found)).flat();
}

async function problemOf(rule: RepositoryConfig, { forgeFor }: Sites): Promise<string | null> {
  try {
    const forge = forgeFor(rule);
    if (forge === null) {
      return `${rule.address.address} is not at the site of delivery.github; set delivery.github.base_url, or delivery.mode: branch`;
    }
    const { name, archived, canPush, login } = await forge.look();
    if (archived) return `${name} is archived; unarchive it, or take it out of git.repositories`;
    if (canPush !== false) return null;
    const who = login === null ? "the credential" : `${login}, the user of the token,`;
    return `${who} may not push to ${name}; give it write access, or another token: symphony secrets add GITHUB_TOKEN`;
  } catch (error) {
    if (!(error instanceof ForgeError)) return adviceOf(error);
    const next = mendedBy[error.category];
    return next === undefined ? error.message : `${error.message}; ${next}`;
  }
}

const mendedBy: Partial<Record<ForgeError["category"], string>> = {
  unauthorized: "store another token: symphony secrets add GITHUB_TOKEN",
  not_found: "the token does not see it: check its url, or symphony secrets add GITHUB_TOKEN",
  forbidden: "give the token that permission, or another one: symphony secrets add GITHUB_TOKEN",
};
