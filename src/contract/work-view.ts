import type { z } from "zod";
import { type Work, workInWords } from "../core/model/work.ts";
import type { Api } from "./api.ts";
import type { Reply } from "./route.ts";
import type { HoldView } from "./work.ts";

type DiffView = Reply<Api["git"]["diff"]>;

/** A comparison as core's workspaces return it. */
type Diff = Omit<
  DiffView,
  "issue_identifier" | "base_note" | "files" | "not_shown" | "not_shown_summary"
> & {
  readonly baseNote: string | null;
  readonly files: readonly DiffView["files"][number][];
  readonly notShown: readonly Work[];
};

// Wire form, for the server and for commands that run without one.

export function holdView(work: Work): z.output<typeof HoldView> {
  switch (work.kind) {
    case "changed_files":
    case "new_files":
      return { ...work, examples: [...work.examples] };
    case "commits":
    case "tags":
      return { ...work, refs: [...work.refs] };
    case "nested_repository":
    case "submodule":
      return { ...work, paths: [...work.paths] };
    default:
      return { ...work };
  }
}

export function diffView(identifier: string, diff: Diff): DiffView {
  const { notShown, files, baseNote, ...rest } = diff;
  return {
    issue_identifier: identifier,
    ...rest,
    base_note: baseNote,
    files: files.map((file) => ({ ...file })),
    not_shown: notShown.map(holdView),
    not_shown_summary: notShown.length === 0 ? null : workInWords(notShown),
  };
}
