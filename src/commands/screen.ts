import { type Key, KeyReader } from "./keys.ts";
import { fit, type Paint, type Style, usualWidth, widthOf } from "./output.ts";

/** Text at a column of a row, in at most `width` columns; what does not fit is cut. */
export interface Cell {
  readonly at: number;
  readonly width: number;
  readonly text: string;
  readonly style?: Style;
}

export interface Size {
  readonly columns: number;
  readonly rows: number;
}

type Streams = { readonly stdin: NodeJS.ReadStream; readonly stdout: NodeJS.WriteStream };

export interface ScreenListener {
  key(key: Key): void;
  /** The whole screen is to be drawn again: it has another size, or another program wrote to it. */
  redraw(): void;
}

const usualRows = 24;
/** The second screen, no cursor, no wrapping at the margin: a row can never become two. */
const on = "\u001b[?1049h\u001b[?25l\u001b[?7l";
const off = "\u001b[?7h\u001b[?25h\u001b[?1049l";
const wipe = "\u001b[2J";
/** What was typed while the program ends must not reach the shell. */
const drainMs = 30;

/**
 * The whole terminal, for one program: the second screen and the keyboard, given back by `close` and at every end of the
 * process. Asks the terminal nothing.
 */
export class Screen {
  readonly #streams: Streams;
  readonly #listener: ScreenListener;
  readonly #keys: KeyReader;
  #shown: readonly string[] = [];
  #open = false;

  constructor(streams: Streams, listener: ScreenListener) {
    this.#streams = streams;
    this.#listener = listener;
    this.#keys = new KeyReader((key) => listener.key(key));
  }

  /** A terminal of unknown size reports 0. */
  get size(): Size {
    const { columns, rows } = this.#streams.stdout;
    return { columns: columns || usualWidth, rows: rows || usualRows };
  }

  open(): void {
    const { stdin, stdout } = this.#streams;
    this.#open = true;
    process.on("exit", this.#restore);
    stdin.setRawMode(true);
    stdout.write(on);
    stdin.on("data", this.#read);
    stdout.on("resize", this.#again);
    process.on("SIGCONT", this.#resumed);
  }

  /** Writes the rows that differ from what is shown. */
  draw(rows: readonly string[]): void {
    if (!this.#open) return;
    let text = "";
    for (let index = 0; index < Math.max(rows.length, this.#shown.length); index += 1) {
      const row = rows[index] ?? "";
      // Erased first: after a full row the cursor stands on its last column.
      if (row !== (this.#shown[index] ?? "")) text += `\u001b[${index + 1};1H\u001b[2K${row}`;
    }
    this.#shown = rows;
    if (text !== "") this.#streams.stdout.write(text);
  }

  /** Draws all rows again at the next `draw`. */
  forget(): void {
    this.#shown = [];
    this.#streams.stdout.write(wipe);
  }

  async close(): Promise<void> {
    const { stdin, stdout } = this.#streams;
    if (!this.#open) return;
    this.#open = false;
    stdout.off("resize", this.#again);
    process.off("SIGCONT", this.#resumed);
    stdout.write(off);
    stdin.off("data", this.#read);
    stdin.resume();
    await new Promise((resolve) => setTimeout(resolve, drainMs));
    this.#keys.close();
    stdin.setRawMode(false);
    stdin.pause();
    process.off("exit", this.#restore);
  }

  readonly #read = (bytes: Buffer) => this.#keys.read(bytes);

  readonly #again = () => {
    this.forget();
    this.#listener.redraw();
  };

  /** After Ctrl-Z in another way, or a stop from elsewhere, the shell had the terminal. */
  readonly #resumed = () => {
    this.#streams.stdin.setRawMode(true);
    this.#streams.stdout.write(on);
    this.#again();
  };

  /** The process ends although nothing closed the screen. */
  readonly #restore = () => {
    if (!this.#open) return;
    this.#streams.stdout.write(off);
    try {
      this.#streams.stdin.setRawMode(false);
    } catch {
      // The terminal is gone.
    }
  };
}

/**
 * A row of cells as text. After a cell whose width the terminal may see differently, the next one is put into its column by
 * number, so that columns stay in line.
 */
export function rowText(cells: readonly Cell[], paint: Paint): string {
  let row = "";
  let used = 0;
  let isSure = true;
  for (const { at, width, text, style } of cells) {
    if (width <= 0) continue;
    const shown = fit(visible(text), width);
    if (!isSure) row += `\u001b[${at + 1}G`;
    else if (at > used) row += " ".repeat(at - used);
    row += style === undefined ? shown : paint[style](shown);
    used = at + widthOf(shown);
    isSure = /^[\x20-\x7e]*$/.test(shown);
  }
  return row;
}

/**
 * Text from outside on one line of a screen: control characters are shown, as `␛` for ESC, and never sent. Marks that reorder
 * what follows are left out.
 */
export function visible(text: string): string {
  return text
    .toWellFormed()
    .replaceAll(/[\t\n\u2028\u2029]+/g, " ")
    .replaceAll(/\p{Cc}/gu, picture)
    .replaceAll(/\p{Bidi_Control}/gu, "");
}

/** The sign of Unicode for a control character. */
function picture(control: string): string {
  const code = control.charCodeAt(0);
  if (code === 0x7f) return "\u2421";
  return code < 0x20 ? String.fromCharCode(0x2400 + code) : "\ufffd";
}
