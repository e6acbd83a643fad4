/** A key that was pressed; `text` is one character for "text", else empty. */
export interface Key {
  readonly name: KeyName;
  readonly text: string;
}

type KeyName =
  | "text"
  | "up"
  | "down"
  | "left"
  | "right"
  | "home"
  | "end"
  | "page-up"
  | "page-down"
  | "tab"
  | "back-tab"
  | "enter"
  | "escape"
  | "backspace"
  | "clear"
  | "redraw"
  | "interrupt";

/** The last characters of the sequences `ESC [ … X` and `ESC O X` that are keys. */
const finals: Readonly<Record<string, KeyName>> = {
  A: "up",
  B: "down",
  C: "right",
  D: "left",
  H: "home",
  F: "end",
  Z: "back-tab",
};
/** `ESC [ N ~`. */
const numbered: Readonly<Record<string, KeyName>> = {
  1: "home",
  4: "end",
  5: "page-up",
  6: "page-down",
  7: "home",
  8: "end",
};
const controls: Readonly<Record<string, KeyName>> = {
  "\r": "enter",
  "\n": "enter",
  "\t": "tab",
  "\u007f": "backspace",
  "\b": "backspace",
  "\u0003": "interrupt",
  "\u000c": "redraw",
  "\u0015": "clear",
};

const esc = "\u001b";
const bell = "\u0007";
/** The characters after ESC that begin a text up to BEL or `ESC \`: answers of a terminal, titles. */
const strings = "]P_^X";
/** No answer of a terminal is longer; what is, is not waited for. */
const maxSequence = 4_096;
/** ESC alone is a key; how long the rest of a sequence may take before it counts as one. */
const aloneMs = 100;

/**
 * Reads keys from what a terminal sends. Its answers, mouse reports and unknown sequences are no keys, in however many
 * pieces and however late they come.
 */
export class KeyReader {
  readonly #press: (key: Key) => void;
  readonly #decoder = new TextDecoder();
  #pending = "";
  #alone: NodeJS.Timeout | null = null;
  /** The escape at the end of `#pending` was already given as a key. */
  #given = false;
  /** Bytes of an old mouse report that are still to come. */
  #skip = 0;

  constructor(press: (key: Key) => void) {
    this.#press = press;
  }

  read(bytes: Uint8Array): void {
    if (this.#alone !== null) clearTimeout(this.#alone);
    for (const character of this.#decoder.decode(bytes, { stream: true })) this.#take(character);
    if (this.#pending !== esc || this.#given) return;
    this.#alone = setTimeout(() => {
      this.#given = true;
      this.#press({ name: "escape", text: "" });
    }, aloneMs);
  }

  close(): void {
    if (this.#alone !== null) clearTimeout(this.#alone);
  }

  #take(character: string): void {
    if (this.#skip > 0) {
      this.#skip -= 1;
      return;
    }
    // Ctrl-C ends even what began like a sequence.
    if (character === "\u0003") this.#pending = "";
    if (this.#pending === "") {
      if (character === esc) this.#pending = esc;
      else this.#plain(character);
      return;
    }
    this.#pending += character;
    const isOver = this.#pending.length > maxSequence;
    if (isOver || this.#isWhole(character)) this.#pending = character === esc ? esc : "";
    if (this.#pending === "") this.#given = false;
  }

  /** Whether `#pending`, which now ends with `character`, is complete; its key is given then. */
  #isWhole(character: string): boolean {
    const [, kind = ""] = this.#pending;
    if (strings.includes(kind)) return character === bell || this.#pending.endsWith(`${esc}\\`);
    if (kind === "[" || kind === "O") return this.#isWholeControl(kind, character);
    if (!this.#given) this.#press({ name: "escape", text: "" });
    this.#given = false;
    if (character !== esc) this.#plain(character);
    return true;
  }

  #isWholeControl(kind: string, character: string): boolean {
    if (this.#pending.length === 2) return false;
    if (character === esc) return true;
    if (!/[@-~]/.test(character)) return false;
    const body = this.#pending.slice(2, -1);
    // The old form of a mouse report: three bytes follow.
    if (kind === "[" && character === "M" && body === "") this.#skip = 3;
    const name = character === "~" ? numbered[body] : finals[character];
    if (name !== undefined && /^[\d;]*$/.test(body)) this.#press({ name, text: "" });
    return true;
  }

  #plain(character: string): void {
    const name = controls[character];
    if (name !== undefined) this.#press({ name, text: "" });
    else if (!/\p{Cc}/u.test(character)) this.#press({ name: "text", text: character });
  }
}
