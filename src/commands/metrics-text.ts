/** One metric of the Prometheus text format 0.0.4 with everything that was said of it. */
export interface Family {
  readonly name: string;
  readonly help: string | null;
  /** `counter`, `gauge`, `histogram`, `summary` or `untyped`. */
  readonly type: string;
  readonly samples: readonly Sample[];
  /** As they were received. */
  readonly lines: readonly string[];
}

interface Sample {
  /** The family's name, with `_bucket`, `_sum` or `_count` in a histogram. */
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** null for what JSON has no number for: NaN and the infinities. */
  readonly value: number | null;
}

interface OpenFamily {
  readonly name: string;
  help: string | null;
  type: string;
  readonly samples: Sample[];
  readonly lines: string[];
}

/** The metrics in `text`, in its order; lines that are neither comment nor sample are passed over. */
export function parseExposition(text: string): readonly Family[] {
  const families = new Map<string, OpenFamily>();
  let last: OpenFamily | null = null;
  for (const line of text.split("\n")) {
    const comment = /^# (HELP|TYPE) (\S+) ?(.*)$/.exec(line);
    const sample = comment ? null : sampleOf(line);
    const name: string | null | undefined =
      comment?.[2] ?? (sample && familyName(sample.name, last));
    if (name == null) continue;
    last = families.get(name) ?? { name, help: null, type: "untyped", samples: [], lines: [] };
    families.set(name, last);
    last.lines.push(line);
    if (sample) last.samples.push(sample);
    if (comment?.[1] === "HELP") last.help = comment[3] ?? "";
    if (comment?.[1] === "TYPE") last.type = comment[3] ?? "untyped";
  }
  return [...families.values()];
}

/** A histogram's lines have names of their own, and stand below its comments. */
function familyName(sample: string, above: OpenFamily | null): string {
  const part = above && sample.startsWith(`${above.name}_`);
  return part && /^(histogram|summary)$/.test(above.type) ? above.name : sample;
}

function sampleOf(line: string): Sample | null {
  const parts = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)(?: -?\d+)?$/.exec(line);
  if (!parts) return null;
  const [, name = "", labels = "", value = ""] = parts;
  const pairs = labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g);
  const number = Number(value);
  return {
    name,
    labels: Object.fromEntries([...pairs].map(([, key, text]) => [key, unescaped(text ?? "")])),
    value: Number.isFinite(number) ? number : null,
  };
}

function unescaped(text: string): string {
  return text.replaceAll(/\\(.)/g, (_, letter: string) => (letter === "n" ? "\n" : letter));
}
