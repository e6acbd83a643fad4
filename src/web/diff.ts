import type { VNode } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { z } from "zod";
import type { git } from "../contract/workspaces.ts";
import { call, issuePath, Refusal } from "./api.ts";
import { html } from "./markup.ts";
import { plural, thousands } from "./words.ts";

type Diff = z.output<typeof git.diff.reply>;

/** Lines of a file that are shown before the rest is folded, and characters of a line. */
const shownLines = 400;
const shownChars = 2_000;

interface FilePatch {
  readonly name: string;
  readonly lines: readonly string[];
}

/** The parts of a patch by file; the name as git wrote it. */
export function filesOf(patch: string): readonly FilePatch[] {
  const files: { name: string; lines: string[] }[] = [];
  for (const line of patch.split("\n")) {
    if (line.startsWith("diff --git ")) {
      files.push({
        name: line.slice("diff --git ".length).replace(/^a\/(.*) b\/\1$/, "$1"),
        lines: [],
      });
    } else files.at(-1)?.lines.push(line);
  }
  return files;
}

/** What kind of line it is, by its first characters; the sign itself stays, for people who see no colours. */
export function kindOf(line: string): "add" | "del" | "hunk" | "same" {
  if (line.startsWith("@@")) return "hunk";
  if (line.startsWith("+") && !line.startsWith("+++")) return "add";
  return line.startsWith("-") && !line.startsWith("---") ? "del" : "same";
}

/** The work in the issue's workspace; read when it is opened, and again on request. */
export function DiffView({ issue }: { issue: string }): VNode {
  const [diff, setDiff] = useState<Diff | null>(null);
  const [fault, setFault] = useState<string | null>(null);
  const read = async () => {
    try {
      setDiff(await call<Diff>("GET", issuePath(issue, "diff")));
      setFault(null);
    } catch (error) {
      setFault(error instanceof Refusal ? error.message : "The server did not answer.");
    }
  };
  useEffect(() => void read(), [issue]);
  return html`<section><h2>Work <span>${diff !== null && summary(diff)}</span>
    <button type="button" class="small" onClick=${() => void read()}>Read again</button></h2>
    ${fault !== null && html`<p class="soft padded">${fault}</p>`}
    ${diff !== null && html`<${Files} diff=${diff} />`}
  </section>`;
}

function summary({ files, branch }: Diff): string {
  const [added, deleted] = [
    total(files.map((file) => file.additions)),
    total(files.map((file) => file.deletions)),
  ];
  return `${plural(files.length, "file")}, +${thousands(added)} −${thousands(deleted)}${branch === null ? "" : ` on ${branch}`}`;
}

function total(counts: readonly (number | null)[]): number {
  return counts.reduce<number>((sum, count) => sum + (count ?? 0), 0);
}

function Files({ diff }: { diff: Diff }): VNode {
  const files = filesOf(diff.patch);
  return html`<div class="diff">
    ${files.length === 0 && html`<p class="soft padded">No change yet.</p>`}
    ${files.map((file, at) => html`<${FileView} key=${file.name} file=${file} open=${at < 5} />`)}
    ${diff.truncated && html`<p class="soft padded">The rest is not shown: <code>symphony diff ${diff.issue_identifier}</code></p>`}
  </div>`;
}

function FileView({ file, open }: { file: FilePatch; open: boolean }): VNode {
  const [isOpen, setOpen] = useState(open);
  const more = file.lines.length - shownLines;
  return html`<details open=${isOpen} onToggle=${(event: Event) => setOpen((event.target as HTMLDetailsElement).open)}>
    <summary>${file.name}</summary>
    ${
      isOpen &&
      html`<pre>${file.lines.slice(0, shownLines).map((line, at) => html`<span key=${at} class=${kindOf(line)}>${shortened(line)}${"\n"}</span>`)}${more > 0 ? `… ${thousands(more)} lines more` : ""}</pre>`
    }
  </details>`;
}

function shortened(line: string): string {
  return line.length > shownChars
    ? `${line.slice(0, shownChars)}… (${thousands(line.length)} characters)`
    : line;
}
