import { z } from "zod";
import type { TrackerConfig } from "../../config/config.ts";
import { GithubClient } from "../../github/client.ts";
import { githubOf } from "../../github/settings.ts";
import { ForgeError } from "../../model/forge-error.ts";
import type { ScopeProject, TrackerDeps } from "../tracker.ts";
import { tracked } from "./errors.ts";

const Row = z.object({
  full_name: z.string(),
  description: z.string().nullish(),
  has_issues: z.boolean().optional(),
  archived: z.boolean().optional(),
});

const maxBoards = 50;
const boards = z
  .object({
    projectsV2: z.object({
      nodes: z.array(
        z
          .object({
            ...{ number: z.number(), title: z.string(), closed: z.boolean() },
            owner: z.object({ login: z.string() }),
          })
          .nullable(),
      ),
    }),
  })
  .nullable();
const boardsAnswer = z.object({
  viewer: z.object({ organizations: z.object({ nodes: z.array(boards) }) }).and(boards),
});
const boardFields = `projectsV2(first: ${maxBoards}) {
  nodes { number title closed owner { ... on Organization { login } ... on User { login } } }
}`;
const boardsQuery = `query { viewer { ${boardFields} organizations(first: 20) { nodes { ${boardFields} } } } }`;

/** The open projects of the token's owner and their organizations; none where the token may not read them. */
async function listBoards(client: GithubClient): Promise<readonly ScopeProject[]> {
  try {
    const { viewer } = await client.query(
      boardsAnswer,
      boardsQuery,
      {},
      { partial: ["projectsV2"] },
    );
    const found = [viewer, ...viewer.organizations.nodes].flatMap((one) => one?.projectsV2.nodes);
    const open = found.flatMap((one) => (one && !one.closed ? [one] : []));
    const all = open.map(({ owner, number, title }) => ({
      ...{ id: `${owner.login}/projects/${number}`, name: `the board ${title}`, isBoard: true },
    }));
    return [...new Map(all.map((one) => [one.id, one])).values()];
  } catch (error) {
    if (error instanceof ForgeError) return [];
    throw error;
  }
}

/**
 * The repositories with issues that the token can see, the last changed first, and then its boards. `provider` needs no more than the token's
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
    const found = rows
      .filter(({ has_issues: has, archived }) => has !== false && archived !== true)
      .map(({ full_name: id, description }) => ({ id, name: description?.trim() || id }));
    return [...found, ...(await listBoards(client))];
  } finally {
    client.close();
  }
}
