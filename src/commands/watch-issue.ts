import { words } from "../web/words.ts";
import { conflictText } from "./conflicts.ts";
import { amount, type Paint, relative } from "./output.ts";
import { type Cell, rowText, type Size } from "./screen.ts";
import { answersTo } from "./watch-model.ts";
import { actRows, folded, line, type Opening, type Scene, textRow } from "./watch-rows.ts";

type Detail = NonNullable<Opening["detail"]>;

/** One issue in full: what it does now, and its timeline or its diff, which can be scrolled by `maxScroll` lines. */
export function issueRows(
  scene: Scene,
  opening: Opening,
  { columns, rows: room }: Size,
  paint: Paint,
): { readonly rows: readonly string[]; readonly maxScroll: number } {
  const head = headOf(scene, opening, columns).map((cell) => textRow(cell, paint));
  const act = actRows(scene.actOf(opening.issue), columns, paint);
  const { opened } = scene.view;
  const isDiff = opened?.tab === "diff";
  const top = [...head, ...act, tabs(opening, isDiff, columns, paint)].slice(0, room - 2);
  const left = room - top.length;
  const count = isDiff ? (opening.diff?.lines.length ?? 0) : opening.timeline.length;
  const maxScroll = Math.max(count - left, 0);
  const by = Math.min(opened?.scroll ?? 0, maxScroll);
  const body = isDiff
    ? (opening.diff?.lines ?? [])
        .slice(by, by + left)
        .map((one) => textRow(patchLine(one, columns), paint))
    : opening.timeline
        .slice(Math.max(count - by - left, 0), count - by)
        .map((one) => timelineRow(one, columns, paint));
  return { rows: [...top, ...body], maxScroll };
}

function headOf({ now }: Scene, opening: Opening, columns: number): readonly Cell[] {
  const { issue, detail, fault } = opening;
  const faults = fault === null ? [] : [line(fault, columns, "red")];
  if (detail === null) return [line(`${issue}: reading …`, columns, "bold"), ...faults];
  const prompt = detail.needs === null ? [] : folded(detail.needs.prompt, columns - 2, 3);
  const options = detail.needs === null ? [] : answersTo(detail.needs);
  const said = detail.running?.last_message;
  const message = said === detail.needs?.prompt ? null : said;
  return [
    line(`${detail.issue_identifier} ${detail.issue.title}`, columns, "bold"),
    line(factsOf(detail, now).join(" · "), columns),
    ...(detail.running === null ? [] : [line(tokensOf(detail.running.tokens), columns)]),
    ...faults,
    ...prompt.map((text) => line(text, columns, "magenta")),
    ...options.slice(0, 9).map((text, index) => line(`  ${index + 1} ${text}`, columns)),
    ...(message ? folded(message, columns, 2).map((text) => line(text, columns)) : []),
    ...(detail.delivery === null
      ? []
      : [line(detail.delivery.problem ?? detail.delivery.summary, columns, "cyan")]),
    ...conflictText(detail).map((text) => line(text, columns, "yellow")),
    ...(detail.last_error === null ? [] : [line(detail.last_error, columns, "red")]),
  ];
}

function factsOf(
  { status, issue, running, workspace, delivery }: Detail,
  now: number,
): readonly string[] {
  const { branch } = workspace;
  const isSaid = branch === null || delivery?.summary.includes(branch);
  return [
    status ?? "not queued",
    issue.state,
    ...(running === null
      ? []
      : [
          `${running.agent}${running.model === null ? "" : ` ${running.model}`}`,
          words(running.phase),
          `began ${relative(running.started_at, now)}`,
        ]),
    ...(isSaid ? [] : [`branch ${branch}`]),
  ];
}

function tokensOf(tokens: NonNullable<Detail["running"]>["tokens"]): string {
  const parts = [
    `${amount(tokens.input_tokens)} in (${amount(tokens.cached_input_tokens)} cached)`,
    `${amount(tokens.output_tokens)} out (${amount(tokens.reasoning_output_tokens)} reasoning)`,
  ];
  return `tokens ${amount(tokens.total_tokens)}: ${parts.join(", ")}`;
}

function tabs({ diff }: Opening, isDiff: boolean, columns: number, paint: Paint): string {
  const name = (text: string, isShown: boolean) => (isShown ? `[${text}]` : ` ${text} `);
  const about = isDiff && diff !== null ? `  ${diff.summary}` : "";
  const text = `${name("timeline", !isDiff)} ${name("diff", isDiff)}${about}`;
  return rowText([line(text, columns, "dim")], paint);
}

function timelineRow(
  { at, type, message }: Opening["timeline"][number],
  columns: number,
  paint: Paint,
): string {
  const time = new Date(at).toTimeString().slice(0, 8);
  const name = words(type.replace(".", " "));
  const width = columns >= 80 ? 22 : 16;
  return rowText(
    [
      { at: 0, width: 8, text: time, style: "dim" },
      { at: 10, width, text: name },
      // "turn started" says nothing twice.
      { at: 11 + width, width: columns - 11 - width, text: message === name ? "" : message },
    ],
    paint,
  );
}

function patchLine(text: string, columns: number): Cell {
  // Of a line of megabytes only what may be seen is looked at.
  const shown = text.slice(0, columns * 8).replaceAll("\t", "    ");
  if (text.startsWith("@@")) return line(shown, columns, "cyan");
  if (text.startsWith("+")) return line(shown, columns, "green");
  return text.startsWith("-") ? line(shown, columns, "red") : line(shown, columns);
}
