import { Component, type VNode } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { z } from "zod";
import type { git } from "../contract/workspaces.ts";
import { call, issuePath, Refusal } from "./api.ts";
import { html } from "./markup.ts";
import { coloured, languageOf, type Piece } from "./syntax.ts";
import { plural, thousands, withNamedMarks } from "./words.ts";

type Diff = z.output<typeof git.diff.reply>;

/** Lines that are open at first in all files together, lines that one click adds, files in the list, characters of a line. */
const openLines = 400;
const stepLines = 400;
const stepFiles = 100;
const shownChars = 2_000;

interface FilePatch {
  readonly name: string;
  readonly lines: readonly string[];
}

/** The parts of a patch by file; the name as git wrote it. What would reorder the code that is read is named. */
export function filesOf(patch: string): readonly FilePatch[] {
  const files: { name: string; lines: string[] }[] = [];
  for (const line of withNamedMarks(patch).split("\n")) {
    if (line.startsWith("diff --git ")) {
      files.push({
        name: line.slice("diff --git ".length).replace(/^a\/(.*) b\/\1$/, "$1"),
        lines: [],
      });
    } else files.at(-1)?.lines.push(line);
  }
  return files;
}

interface FileChange extends FilePatch {
  /** Its name before; null: it was not renamed. */
  readonly from: string | null;
  readonly isSent: boolean;
  /** Of the whole file, whatever of it is in the patch; null: it is binary. */
  readonly additions: number | null;
  readonly deletions: number | null;
  readonly isOpen: boolean;
}

/** Every file with its figures, and what the patch has of it. The first ones are open, up to a number of lines. */
export function changesIn({ files, patch }: Pick<Diff, "files" | "patch">): readonly FileChange[] {
  const patches = filesOf(patch);
  let left = openLines;
  return files.map(({ path, renamed_from: from, additions, deletions }, at) => {
    // Both lists are git's, in one order: a name that git had to quote is found by its place.
    const sent = patches[at]?.lines;
    const lines = withoutHeader(sent ?? []);
    const isOpen = left > 0 && lines.length > 0;
    left -= Math.min(lines.length, stepLines);
    return { name: path, from, isSent: sent !== undefined, lines, additions, deletions, isOpen };
  });
}

const known = /^(?:index [0-9a-f]|similarity index |rename (?:from|to) |--- |\+\+\+ )/;

/** Without what the list says already, which stands before the first hunk: the names of the file and its ids. */
function withoutHeader(lines: readonly string[]): readonly string[] {
  const first = lines.findIndex((line) => line.startsWith("@@"));
  return lines.filter((line, at) => (first >= 0 && at >= first) || !known.test(line));
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
  // The same element again: an event of the timeline does not render the diff.
  const files = useMemo(() => diff !== null && html`<${Files} diff=${diff} />`, [diff]);
  return html`<section id="diff"><h2>Work <span>${diff !== null && summary(diff)}</span>
    <button type="button" class="small" onClick=${() => void read()}>Read again</button></h2>
    ${fault !== null && html`<p class="soft padded">${fault}</p>`}
    ${files}
  </section>`;
}

function summary({ totals, branch }: Diff): string {
  const lines = `+${thousands(totals.additions)} −${thousands(totals.deletions)}`;
  return `${plural(totals.files, "file")}, ${lines}${branch === null ? "" : ` on ${branch}`}`;
}

function Files({ diff }: { diff: Diff }): VNode {
  const [shown, setShown] = useState(stepFiles);
  const files = useMemo(() => changesIn(diff), [diff]);
  const more = files.length - shown;
  const beyond = diff.totals.files - files.length;
  return html`<div class="diff">
    ${files.length === 0 && html`<p class="soft padded">No change yet.</p>`}
    ${files.slice(0, shown).map((file) => html`<${FileView} key=${file.name} file=${file} />`)}
    ${more > 0 && html`<p class="padded"><button type="button" class="small" onClick=${() => setShown(shown + stepFiles)}>${thousands(Math.min(more, stepFiles))} of ${plural(more, "more file")}</button></p>`}
    ${beyond > 0 && html`<p class="soft padded">${plural(beyond, "file")} more ${beyond === 1 ? "is" : "are"} not listed.</p>`}
    ${diff.not_shown_summary !== null && html`<p class="soft padded">Not in this comparison: ${diff.not_shown_summary}</p>`}
    ${diff.truncated && html`<p class="soft padded">Too long to be sent completely: see the workspace, <code>${diff.path}</code></p>`}
  </div>`;
}

function FileView({ file }: { file: FileChange }): VNode {
  const { name, from, lines, additions, deletions } = file;
  const [isOpen, setOpen] = useState(file.isOpen);
  const [shown, setShown] = useState(stepLines);
  const colours = useColours(name, lines, isOpen ? Math.min(shown, lines.length) : 0);
  const more = lines.length - shown;
  const figures =
    additions === null
      ? "binary"
      : `+${thousands(additions)} −${thousands(deletions ?? 0)}${file.isSent ? "" : ", not sent"}`;
  const called = from === null ? name : html`${from} → ${name}`;
  return html`<details open=${isOpen} onToggle=${(event: Event) => setOpen((event.target as HTMLDetailsElement).open)}>
    <summary>${called} <span class="soft">${from === null ? "" : "renamed, "}${figures}</span></summary>
    ${
      isOpen &&
      lines.length > 0 &&
      html`<pre tabindex="0" aria-label=${`Changes in ${name}`}>${lines.slice(0, shown).map((line, at) => html`<${LineView} key=${at} line=${line} pieces=${colours.get(at)} />`)}</pre>
      ${more > 0 && html`<p class="padded"><button type="button" class="small" onClick=${() => setShown(shown + stepLines)}>${thousands(Math.min(more, stepLines))} of ${plural(more, "more line")}</button></p>`}`
    }
  </details>`;
}

type Colours = ReadonlyMap<number, readonly Piece[]>;

/** The pieces of the first `count` lines of a file, as far as they are known; each line is read once. */
function useColours(name: string, lines: readonly string[], count: number): Colours {
  const [colours, setColours] = useState<Colours>(new Map());
  const done = useRef(0);
  useEffect(() => {
    done.current = 0;
    setColours(new Map());
  }, [lines]);
  useEffect(() => {
    const language = languageOf(name);
    const from = done.current;
    if (language === null || count <= from) return;
    done.current = count;
    void coloured(language, lines.slice(from, count)).then(
      (found) =>
        setColours((known) => {
          const added = [...found].map(([at, pieces]) => [at + from, pieces] as const);
          return new Map([...known, ...added]);
        }),
      // Without the library the lines stay plain.
      () => {},
    );
  }, [name, lines, count]);
  return colours;
}

interface LineProps {
  readonly line: string;
  readonly pieces: readonly Piece[] | undefined;
}

class LineView extends Component<LineProps> {
  override shouldComponentUpdate({ line, pieces }: LineProps): boolean {
    return line !== this.props.line || pieces !== this.props.pieces;
  }

  override render({ line, pieces }: LineProps): VNode {
    const text =
      pieces === undefined
        ? shortened(line)
        : html`${line.slice(0, 1)}${pieces.map(({ text, look }, at) => (look === null ? text : html`<i key=${at} class=${look}>${text}</i>`))}`;
    return html`<span class=${kindOf(line)}>${text}${"\n"}</span>`;
  }
}

function shortened(line: string): string {
  return line.length > shownChars
    ? `${line.slice(0, shownChars)}… (${thousands(line.length)} characters)`
    : line;
}
