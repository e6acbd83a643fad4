import { dirname, join } from "node:path";
import { SymphonyError, withHint } from "../core/model/errors.ts";
import { shellQuoted } from "../core/text/text.ts";
import { type CommandContext, findDataDir, findProject, type Place, runtimeIn } from "./context.ts";

/**
 * The data directory of a command that works on its files: `--data-dir`, else that of the server that was named (`--url`,
 * SYMPHONY_URL), else the project's. Rejects with `usage` where there is none, and where the server's files are on another
 * machine: the project here is another one. `command` is what to type instead, without the directory; `isNew`: the directory
 * of a project need not be there.
 */
export async function filesFor(
  command: string,
  context: CommandContext,
  isNew = false,
): Promise<string> {
  const { where } = context;
  const url = where.url ?? (where.env["SYMPHONY_URL"] || undefined);
  if (where.dataDir === undefined && url !== undefined) return filesOf(url, command, context);
  const dataDir = findDataDir(where);
  const project = findProject(where);
  // That of a directory above, or of the home, belongs to another project.
  const isElsewhere = project?.workflowPath != null && project.dataDir !== dataDir;
  if (isElsewhere && isNew) return project.dataDir;
  if (dataDir !== null && !isElsewhere) return dataDir;
  const why = isElsewhere ? `: no server has run for ${project.workflowPath} yet` : "";
  throw new SymphonyError("usage", `there is no data directory here${why}`, {
    hint: `${command} --data-dir DIR, on the machine of the server`,
  });
}

async function filesOf(url: string, command: string, context: CommandContext): Promise<string> {
  const hint = `${command} --data-dir DIR, on the machine of the server`;
  const client = await context.client();
  const { data_dir: dataDir, pid } = await client.system.runtime().catch((error: unknown) => {
    throw error instanceof SymphonyError ? withHint(error, hint) : error;
  });
  // The same path may also exist here, without that server.
  if (runtimeIn(dataDir)?.pid === pid) return dataDir;
  const message = `the files of the server at ${url} are not on this machine`;
  throw new SymphonyError("usage", message, { details: { url, dataDir }, hint });
}

/** The command line that serves it, as it is typed in `cwd`. */
export function serveLine({ workflowPath, dataDir }: Place, cwd: string): string {
  const file = workflowPath === join(cwd, "WORKFLOW.md") ? "" : ` ${shellQuoted(workflowPath)}`;
  const isOwn = dataDir === join(dirname(workflowPath), ".symphony");
  return `symphony serve${file}${isOwn ? "" : ` --data-dir ${shellQuoted(dataDir)}`}`;
}
