import { z } from "zod";
import { Time } from "./values.ts";

const count = z.number().int();
const names = z.array(z.string()).describe("The first ten");

const files = { count, examples: names };
const repositories = { count, paths: names };

/** One kind of work that exists only in this workspace. */
export const HoldView = z
  .discriminatedUnion("kind", [
    z.object({ kind: z.literal("changed_files"), ...files }),
    z.object({ kind: z.literal("new_files"), ...files }),
    z.object({ kind: z.literal("unfinished"), operation: z.string() }),
    z.object({
      kind: z.literal("commits"),
      count,
      more: z.boolean().describe("There are more than `count`"),
      refs: names,
    }),
    z.object({ kind: z.literal("tags"), count, refs: names }),
    z.object({ kind: z.literal("stashes"), count }),
    z.object({ kind: z.literal("nested_repository"), ...repositories }),
    z.object({ kind: z.literal("submodule"), ...repositories }),
    z.object({ kind: z.literal("unknown"), reason: z.string() }),
  ])
  .describe("What cannot be determined counts as work")
  .meta({ id: "Hold" });

/** A workspace that is kept because it holds work. */
export const KeptView = z
  .object({
    key: z.string(),
    path: z.string(),
    since: Time,
    holds: z.array(HoldView),
    summary: z.string().describe("A readable summary of what it holds"),
    next: z.array(z.string()).describe("Commands: one shows the work, one deletes the workspace"),
  })
  .meta({ id: "Kept" });

export const KeptRow = KeptView.extend({
  issue_id: z.string(),
  issue_identifier: z.string(),
}).meta({ id: "KeptRow" });
