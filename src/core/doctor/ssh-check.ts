import { kinds } from "../kinds.ts";
import { messageOf, SymphonyError } from "../model/errors.ts";
import type { Project } from "./project.ts";
import { type Answer, fail, notAsked, ok, worst } from "./result.ts";

/** Each host of `worker.ssh_hosts`, asked as at the start of a server: login, home, PATH, git and the agents' programs there. */
export async function checkSsh({ checked, env }: Project): Promise<Answer> {
  if (checked === null) return notAsked("the workflow file cannot be used");
  const { config } = checked.effective;
  const { greet } = await import("../ssh/hosts.ts");
  const { agentPrograms } = await import("../machine-checks.ts");
  const { sshHosts, root } = config.worker;
  const programs = agentPrograms(kinds.agents, config);
  const { twice } = await import("../ssh/refusals.ts");
  const seen = new Map<string, string>();
  const asked = sshHosts.map(async (host): Promise<Answer> => {
    try {
      const { name, root: at, git, machine, servers } = await greet(host, { root, programs, env });
      const other = seen.get(machine);
      if (other !== undefined) throw twice(host, other);
      if (machine !== "") seen.set(machine, host);
      const runs = servers.length === 0 ? "" : `, runs agents of ${servers.join(" and ")}`;
      return ok(`${host} answers as ${name}, workspaces in ${at}, git ${git}${runs}`);
    } catch (error) {
      if (!(error instanceof SymphonyError)) throw error;
      return fail(error.code, messageOf(error), error.hint);
    }
  });
  return worst(await Promise.all(asked));
}
