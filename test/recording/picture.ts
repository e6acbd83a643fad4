import { stripVTControlCharacters } from "node:util";

/** One screen: its lines with the colour sequences of the terminal, and when it was seen. */
export interface Frame {
  readonly atMs: number;
  readonly text: string;
}

const columns = 80;
const rows = 24;
const cellWidth = 8.4;
const lineHeight = 18;
const margin = 14;
/** A longer pause is shortened to this. */
const longestMs = 2_000;
const lastMs = 8_000;

const colours: Readonly<Record<number, string>> = {
  31: "#ff7b72",
  32: "#7ee787",
  33: "#e3b341",
  34: "#79c0ff",
  35: "#d2a8ff",
  36: "#76e3ea",
  90: "#8b949e",
};

/** An SVG that shows the frames one after another, without end; where motion is not wanted, the last one. */
export function picture(frames: readonly Frame[]): string {
  const width = Math.ceil(columns * cellWidth + 2 * margin);
  const height = rows * lineHeight + 2 * margin;
  const durations = frames.map(({ atMs }, at) => {
    const next = frames[at + 1];
    return next === undefined ? lastMs : Math.min(next.atMs - atMs, longestMs);
  });
  const total = durations.reduce((sum, ms) => sum + ms, 0);
  let at = 0;
  const keys = durations.map((ms, index) => {
    const percent = ((at / total) * 100).toFixed(3);
    at += ms;
    return `${percent}%{transform:translateY(${-index * height}px)}`;
  });
  const last = -(frames.length - 1) * height;
  const style = [
    `@keyframes play{${keys.join("")}}`,
    `.strip{animation:play ${(total / 1_000).toFixed(1)}s step-end infinite}`,
    `@media (prefers-reduced-motion:reduce){.strip{animation:none;transform:translateY(${last}px)}}`,
    "text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:#e6edf3;white-space:pre}",
    ".b{font-weight:700}.d{opacity:.65}",
    ...Object.entries(colours).map(([code, colour]) => `.c${code}{fill:${colour}}`),
  ].join("");
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img">`,
    "<title>The demo of symphony in a terminal</title>",
    `<style>${style}</style>`,
    `<rect width="${width}" height="${height}" rx="8" fill="#0d1117"/>`,
    `<g class="strip">`,
    ...frames.map(({ text }, index) => frame(text, index * height)),
    "</g></svg>\n",
  ].join("\n");
}

/** The lines of text in a picture, each once, without the spaces at their ends. */
export function linesIn(svg: string): readonly string[] {
  const texts = [...svg.matchAll(/<text[^>]*>(.*?)<\/text>/gs)].map(([, inner = ""]) =>
    inner
      .replaceAll(/<[^>]+>/g, "")
      .replaceAll("&lt;", "<")
      .replaceAll("&gt;", ">")
      .replaceAll("&amp;", "&")
      .trimEnd(),
  );
  return [...new Set(texts)];
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: the colour sequences of a terminal
const sequences = /\x1b\[([0-9;]*)m/g;

function frame(text: string, top: number): string {
  const lines = text.trimEnd().split("\n");
  // A terminal's copy names a change of looks only, also from one line to the next.
  let looks: ReadonlySet<number> = new Set();
  const drawn = lines.flatMap((line, index) => {
    const before = looks;
    for (const [, codes = ""] of line.matchAll(sequences)) looks = applied(looks, codes);
    if (stripVTControlCharacters(line).trim() === "") return [];
    const y = top + margin + (index + 1) * lineHeight - 4;
    return [`<text x="${margin}" y="${y}">${spans(line, before)}</text>`];
  });
  return `<g>${drawn.join("")}</g>`;
}

/** The parts of a line that look alike, as spans. */
function spans(line: string, before: ReadonlySet<number>): string {
  let codes = before;
  let out = "";
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the colour sequences of a terminal
  for (const part of line.split(/(\x1b\[[0-9;]*m)/)) {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: as above
    const sequence = /^\x1b\[([0-9;]*)m$/.exec(part);
    if (sequence !== null) codes = applied(codes, sequence[1] ?? "");
    else if (part !== "") out += span(part, codes);
  }
  return out;
}

function applied(codes: ReadonlySet<number>, sequence: string): Set<number> {
  const next = new Set(codes);
  const drop = (test: (code: number) => boolean) => {
    for (const code of next) if (test(code)) next.delete(code);
  };
  for (const code of sequence.split(";").map(Number)) {
    if (code === 0) next.clear();
    else if (code === 22) drop((one) => one < 3);
    else if (code === 39) drop((one) => one > 29);
    else next.add(code);
  }
  return next;
}

function span(text: string, codes: ReadonlySet<number>): string {
  const names = [...codes].flatMap((code) => {
    if (code === 1) return ["b"];
    if (code === 2) return ["d"];
    return code in colours ? [`c${code}`] : [];
  });
  const escaped = text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  return names.length === 0 ? escaped : `<tspan class="${names.join(" ")}">${escaped}</tspan>`;
}
