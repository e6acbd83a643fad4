import type { TrackerConfig } from "../../config/config.ts";
import type { ScopeProject, TrackerDeps } from "../tracker.ts";
import { LinearClient } from "./client.ts";
import { LinearTokens } from "./oauth.ts";
import { projectsAnswer, query } from "./queries.ts";
import { reachOf } from "./settings.ts";

/** The projects that the key can see, the newest first; at most 50. Rejects as a read of the tracker does. */
export async function listProjects(
  provider: TrackerConfig["provider"],
  { clock, lookup, keeper }: TrackerDeps,
): Promise<readonly ScopeProject[]> {
  const { endpoint, oauth, authorization } = reachOf(provider, lookup);
  const tokens = oauth && new LinearTokens(oauth, { clock, lookup, keeper });
  const client = new LinearClient({
    ...{ endpoint, clock, authorization: tokens?.authorization ?? authorization },
  });
  try {
    const { projects } = await query(client, {
      operation: "SymphonyProjects",
      variables: {},
      shape: projectsAnswer,
    });
    return projects.nodes.map(({ slugId, name }) => ({ id: slugId, name }));
  } finally {
    client.close();
  }
}
