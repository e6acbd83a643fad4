import { z } from "zod";
import { paths } from "./paths.ts";
import { route } from "./route.ts";
import { byIssue } from "./values.ts";

export const attach = route({
  ...paths.issues.attach,
  summary: "Hold the issue while a person works in its workspace",
  params: byIssue,
  body: z
    .strictObject({
      interrupt: z
        .boolean()
        .optional()
        .describe("Stop a live attempt first; the reply is sent when its agent is gone"),
    })
    .meta({ example: { interrupt: true } }),
  bodyOptional: true,
  audited: ["interrupt"],
  status: 200,
  reply: z.object({
    issue_identifier: z.string(),
    path: z.string().describe("The workspace, on the server's machine"),
    branch: z.string().nullable(),
    base: z
      .string()
      .nullable()
      .describe("The commit that the person's changes are compared with; null: there is none"),
    uncommitted: z.boolean().describe("It had changes that were not committed"),
    thread_id: z.string().nullable().describe("The agent's thread, which continues afterwards"),
    agent: z.string().nullable(),
    agent_kind: z.string().nullable().describe("Its kind, such as codex or claude"),
    agent_home: z
      .string()
      .nullable()
      .describe(
        "Where the program keeps the thread: CODEX_HOME, or Claude Code's CLAUDE_CONFIG_DIR; null: not known",
      ),
  }),
  errors: ["issue_not_found", "workspace_not_found", "turn_running", "transition_not_allowed"],
});

export const detach = route({
  ...paths.issues.detach,
  summary: "Queue the issue again: what the person changed, and a note, are the next turn",
  params: byIssue,
  body: z
    .strictObject({ note: z.string().trim().min(1).max(4_000).optional() })
    .meta({ example: { note: "The parser is right now; add the missing tests." } }),
  bodyOptional: true,
  audited: ["note"],
  status: 200,
  reply: z.object({
    issue_identifier: z.string(),
    attached: z
      .boolean()
      .describe("false: another request had queued it before, and only the note was added"),
    changed_files: z
      .number()
      .int()
      .nullable()
      .describe("null: not known here, or the workspace has no commit to compare with"),
    truncated: z.boolean().describe("The agent reads only the first 16,000 characters of the diff"),
  }),
  errors: ["issue_not_found", "not_attached", "no_repository", "workspace_error"],
});
