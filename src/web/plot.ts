import type { VNode } from "preact";
import { html } from "./markup.ts";

// Small plots as SVG of our own: they take their colours from the style, so that themes and forced colours apply, and need
// neither a canvas nor inline styles. Next to each stands a table with the same figures.

export interface Point {
  /** Time, ms. */
  readonly x: number;
  readonly y: number;
}

export interface Series {
  readonly name: string;
  /** Class of its colour. */
  readonly look: "first" | "second";
  readonly points: readonly Point[];
  text(value: number): string;
}

const [width, height, left, right, top, bottom] = [640, 180, 64, 64, 14, 24];
const maxPoints = 400;

/** Lines over one axis of time, each with its own scale: the first at the left, the second at the right. */
export function LinePlot({ series, label }: { series: readonly Series[]; label: string }): VNode {
  const times = series.flatMap(({ points }) => points.map(({ x }) => x));
  const [from, to] = [Math.min(...times), Math.max(...times)];
  const xOf = (x: number) => left + ((x - from) / Math.max(to - from, 1)) * (width - left - right);
  return html`<svg class="plot" viewBox=${`0 0 ${width} ${height}`} role="img" aria-label=${label}>
    <line class="axis" x1=${left} x2=${width - right} y1=${height - bottom} y2=${height - bottom} />
    ${series.map((one, at) => html`<${Line} key=${one.name} series=${one} atRight=${at > 0} xOf=${xOf} />`)}
    <text class="label" x=${left} y=${height - 6}>${timeText(from, to - from)}</text>
    <text class="label end" x=${width - right} y=${height - 6}>${timeText(to, to - from)}</text>
  </svg>`;
}

interface LineProps {
  readonly series: Series;
  readonly atRight: boolean;
  xOf(x: number): number;
}

function Line({ series, atRight, xOf }: LineProps): VNode {
  const points = thinned(series.points);
  const most = Math.max(...points.map(({ y }) => y), Number.MIN_VALUE);
  const yOf = (y: number) => height - bottom - (y / most) * (height - top - bottom);
  const path = points.map(({ x, y }) => `${xOf(x).toFixed(1)},${yOf(y).toFixed(1)}`).join(" ");
  const x = atRight ? width - right + 6 : left - 6;
  const end = atRight ? "" : "end";
  return html`<g class=${series.look}><polyline points=${path} />
    <text class=${`label ${end}`} x=${x} y=${top + 4}>${series.text(most)}</text>
    <text class=${`label ${end}`} x=${x} y=${top + 18}>${series.name}</text></g>`;
}

/** At most `maxPoints`, the last always among them. */
function thinned(points: readonly Point[]): readonly Point[] {
  const step = Math.ceil(points.length / maxPoints);
  return points.filter((_, at) => at % step === 0 || at === points.length - 1);
}

function timeText(ms: number, span: number): string {
  const at = new Date(ms);
  return span < 36 * 3_600_000
    ? at.toLocaleTimeString([], {
        hour: "2-digit",
        minute: "2-digit",
        ...(span < 5 * 60_000 && { second: "2-digit" }),
      })
    : at.toLocaleDateString([], { month: "short", day: "numeric" });
}

export interface Bar {
  readonly label: string;
  readonly value: number;
}

/** One bar for each label, with its value above. */
export function Bars({ bars, label }: { bars: readonly Bar[]; label: string }): VNode {
  const most = Math.max(...bars.map(({ value }) => value), 1);
  const step = width / Math.max(bars.length, 1);
  const room = height - top - bottom - 8;
  return html`<svg class="plot" viewBox=${`0 0 ${width} ${height}`} role="img" aria-label=${label}>
    <line class="axis" x1="0" x2=${width} y1=${height - bottom} y2=${height - bottom} />
    ${bars.map(({ label: name, value }, at) => {
      const tall = (value / most) * room;
      const middle = at * step + step / 2;
      return html`<g key=${name} class="first"><rect x=${at * step + step * 0.15} width=${step * 0.7} y=${height - bottom - tall} height=${tall} />
        ${value > 0 && html`<text class="label middle" x=${middle} y=${height - bottom - tall - 4}>${value}</text>`}
        <text class=${`label middle ${(bars.length - 1 - at) % 2 === 1 ? "between" : ""}`} x=${middle} y=${height - 6}>${name}</text></g>`;
    })}
  </svg>`;
}
