import { z } from "zod";
import type { TrackerConfig } from "../../config/config.ts";
import { GithubClient } from "../../github/client.ts";
import { githubOf } from "../../github/settings.ts";
import type { ScopeProject, TrackerDeps } from "../tracker.ts";
import { tracked } from "./errors.ts";

const Row = z.object({
  full_name: z.string(),
  description: z.string().nullish(),
  has_issues: z.boolean().optional(),
  archived: z.boolean().optional(),
});

/**
 * The repositories with issues that the token can see, the last changed first. `provider` needs no more than the token's
 * name. Rejects with a tracker's code.
 */
export async function listRepositories(
  { token, base_url }: TrackerConfig["provider"],
  { clock, lookup }: TrackerDeps,
): Promise<readonly ScopeProject[]> {
  const settings = githubOf({ token, base_url }, lookup, {
    path: "tracker.provider",
    invalid: "invalid_tracker_config",
    missing: "missing_tracker_secret",
  });
  const client = new GithubClient({ settings, clock, repository: { owner: "", name: "" } });
  try {
    const rows = await tracked(() => client.list(Row, "GET /user/repos", { sort: "pushed" }));
    return rows
      .filter(({ has_issues: has, archived }) => has !== false && archived !== true)
      .map(({ full_name: id, description }) => ({ id, name: description?.trim() || id }));
  } finally {
    client.close();
  }
}
