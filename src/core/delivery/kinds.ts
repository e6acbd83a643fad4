import type { Clock } from "../clock.ts";
import type { DeliveryConfig } from "../config/delivery.ts";
import type { GitAddress } from "../config/git.ts";
import { githubOf, repositoryOf } from "../github/settings.ts";
import type { Credential } from "../repository/credential.ts";
import type { Forge, ForgeWebhook } from "./forge.ts";
import { githubForge } from "./github/forge.ts";
import { githubWebhook } from "./github/webhook.ts";

/** How a site is reached. */
export interface ForgeReach {
  readonly clock: Clock;
  /** The value behind `$NAME`. */
  lookup(name: string): string | undefined;
}

/** A row of the table of sites with pull requests. */
export interface ForgeKind {
  /** Also the last segment of its webhook's path. */
  readonly kind: string;
  readonly webhook: ForgeWebhook;
  /** The site's pull requests of the repository; null: the address is not one of this site. Throws `invalid_config`. */
  open(delivery: DeliveryConfig, address: GitAddress, reach: ForgeReach): Forge | null;
}

/** Every kind of site; the first that knows the address is used. */
export const forgeKinds: readonly ForgeKind[] = [
  {
    kind: "github",
    webhook: githubWebhook,
    open({ github }, address, { clock, lookup }) {
      const settings = githubOf(github, lookup);
      const repository = repositoryOf(settings, address);
      return repository && githubForge({ settings, repository, clock });
    },
  },
];

/** The site of an address; null: no known site has it. Throws `invalid_config`. */
export function openForge(
  delivery: DeliveryConfig,
  address: GitAddress,
  reach: ForgeReach,
): Forge | null {
  for (const { open } of forgeKinds) {
    const forge = open(delivery, address, reach);
    if (forge !== null) return forge;
  }
  return null;
}

/**
 * The credential of the site for a repository whose address names none; null: the site has none for it, and public ones
 * need none. Never rejects.
 */
export async function siteCredential(
  { login, protocol }: GitAddress,
  forge: () => Forge | null,
): Promise<Credential | null> {
  if (login !== null || !/^https?$/.test(protocol)) return null;
  try {
    return (await forge()?.readCredential()) ?? null;
  } catch {
    return null;
  }
}
