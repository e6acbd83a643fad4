const mark = "[redacted]";
/** A shorter value would hide ordinary words. */
const shortestChars = 6;
const shortestLineChars = 16;
/** A pattern with much longer values does not compile. */
const longestInPattern = 1_000;

export interface Redactor {
  /** Registers the value of a secret; one shorter than 6 characters is not searched for. */
  add(value: string): void;
  /** Grows with each new value: text that was redacted earlier may have to be redacted again. */
  known(): number;
  /** Replaces every known value, plain or encoded (base64, hex, url, JSON, HTML), and everything that looks like a token. */
  redact(text: string): string;
  /** What kind of secret the text holds: a known one, or something that looks like a token; null: none. */
  secretIn(text: string): string | null;
}

/** Finds secrets by their value in any form; tokens of well-known services also by their shape. */
export function createRedactor(): Redactor {
  const forms = new Set<string>();
  const long = new Set<string>();
  let pattern: RegExp | null = null;
  return {
    add(value) {
      const before = forms.size;
      for (const form of formsOf(value)) (form.length > longestInPattern ? long : forms).add(form);
      if (forms.size > before) pattern = patternOf(forms);
    },
    known: () => forms.size + long.size,
    redact(text) {
      let safe = text;
      for (const form of long) safe = safe.replaceAll(form, mark);
      if (pattern !== null) safe = safe.replaceAll(pattern, mark);
      return safe.replaceAll(secretShapes, mark);
    },
    secretIn(text) {
      // Text of two bytes for each character, as Windows writes it, has a zero next to each letter.
      const texts = text.includes("\0") ? [text, text.replaceAll("\0", "")] : [text];
      const isKnown = texts.some(
        (one) =>
          [...long].some((form) => one.includes(form)) ||
          (pattern !== null && one.search(pattern) >= 0),
      );
      if (isKnown) return "a secret that symphony knows";
      return texts.some((one) => one.search(secretShapes) >= 0)
        ? "what looks like a token or a private key"
        : null;
    },
  };
}

function patternOf(forms: ReadonlySet<string>): RegExp {
  // The longest first: a shorter form may be the beginning of a longer one.
  const longestFirst = [...forms].sort((a, b) => b.length - a.length);
  return new RegExp(longestFirst.map((form) => RegExp.escape(form)).join("|"), "g");
}

function formsOf(value: string): readonly string[] {
  const lines = value.split(/[\r\n]+/).filter((line) => line.trim().length >= shortestLineChars);
  const values = [value, value.trim(), value.trim().replaceAll(/\s+/g, " "), ...lines];
  return values.flatMap(encodingsOf).filter((form) => form.length >= shortestChars);
}

/** Whether a value can be searched for without hiding ordinary words, such as the `none` of a provider without a key. */
export function isLongEnough(value: string): boolean {
  return value.trim().length >= shortestChars;
}

const entities: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

function encodingsOf(value: string): readonly string[] {
  if (!isLongEnough(value)) return [];
  const bytes = Buffer.from(value, "utf8");
  const url = encodeURIComponent(value.toWellFormed());
  const json = JSON.stringify(value).slice(1, -1);
  const base64 = [0, 1, 2].map((offset) => base64Within(bytes, offset));
  return [
    value,
    json,
    // JSON within JSON, as in a message that quotes a response.
    JSON.stringify(json).slice(1, -1),
    value.replaceAll(/[&<>"']/g, (character) => entities[character] ?? ""),
    url,
    new URLSearchParams([["", value]]).toString().slice(1),
    url.replaceAll(/%[0-9A-F]{2}/g, (code) => code.toLowerCase()),
    ...base64,
    ...base64.map((form) => form.replaceAll("+", "-").replaceAll("/", "_")),
    bytes.toString("hex"),
    bytes.toString("hex").toUpperCase(),
  ];
}

/** The characters that depend on `bytes` only, when `offset` other bytes precede them, as in `user:token`. */
function base64Within(bytes: Buffer, offset: number): string {
  const all = Buffer.concat([Buffer.alloc(offset), bytes]);
  const first = Math.ceil((offset * 8) / 6);
  const end = Math.floor((all.length * 8) / 6);
  return all.toString("base64").slice(first, end);
}

/** The contract's own words. A secret that equals one of them would break the structure of every response. */
const plainKey = /^[a-z][a-z_]{0,31}$/i;

/** The key of an object with `redact` applied, but for the contract's own words. */
export function redactKey(key: string, redact: (text: string) => string): string {
  return plainKey.test(key) ? key : redact(key);
}

/** A copy of plain data with `redact` applied to every text in it, keys included. */
export function redactDeep<T>(data: T, redact: (text: string) => string): T;
export function redactDeep(data: unknown, redact: (text: string) => string): unknown {
  if (typeof data === "string") return redact(data);
  if (Array.isArray(data)) return data.map((item: unknown) => redactDeep(item, redact));
  if (!isPlain(data)) return data;
  return Object.fromEntries(
    Object.entries(data).map(([key, value]) => [redactKey(key, redact), redactDeep(value, redact)]),
  );
}

function isPlain(data: unknown): data is object {
  if (typeof data !== "object" || data === null) return false;
  const prototype: unknown = Object.getPrototypeOf(data);
  return prototype === Object.prototype || prototype === null;
}

/**
 * The shapes of tokens of well-known services, for tokens that were not registered. Each is matched from left to right
 * without backtracking, so hostile text costs no more than its length.
 */
const secretShapes = new RegExp(
  [
    "(?<![A-Za-z0-9])sk-(?:proj|svcacct|admin|ant)-[\\w-]{16,}",
    "(?<![A-Za-z0-9])sk-[A-Za-z0-9]{32,}",
    "(?<![A-Za-z0-9])(?:github_pat_\\w{20,}|gh[opsur]_[A-Za-z0-9]{20,}|glpat-[\\w-]{20,})",
    "(?<![A-Za-z0-9])lin_(?:api|oauth|wh)_\\w{16,}",
    "(?<![A-Za-z0-9])xox[abeoprs]-[\\w-]{16,}",
    "(?<![A-Za-z0-9])A(?:KIA|SIA)[A-Z0-9]{16}(?![A-Za-z0-9])",
    "(?<![\\w-])eyJ[\\w-]{8,}\\.eyJ[\\w-]{8,}\\.[\\w-]{8,}",
    "-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[A-Za-z0-9+/=\\s\\\\]*(?:-----END [A-Z ]{0,40}PRIVATE KEY-----)?",
  ].join("|"),
  "g",
);

const keyBegins = /-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----/;
const keyEnds = /-----END [A-Z ]{0,40}PRIVATE KEY-----/;
const keyLine = /^[A-Za-z0-9+/=:,\s-]*$/;

/** Passes lines to `log`; lines of a private key are replaced by a mark, because no single line looks like one. */
export function withoutKeyLines(log: (line: string) => void): (line: string) => void {
  let inside = false;
  return (line) => {
    inside = keyBegins.test(line) || (inside && keyLine.test(line));
    log(inside ? "[redacted]" : line);
    if (keyEnds.test(line)) inside = false;
  };
}
