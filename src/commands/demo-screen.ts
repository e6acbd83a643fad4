import { createInterface } from "node:readline";
import { stripVTControlCharacters } from "node:util";
import type { CommandIo } from "./context.ts";
import { appendsOnly, fit, type Paint, plainLine } from "./output.ts";

/** Where the demo writes: lines that stay, and on a terminal what can be typed now, below them. */
export interface DemoScreen {
  /** The first text; without a terminal the commands to try follow it. */
  introduce(text: string): void;
  say(text?: string): void;
  /** Shows what an issue asks, and takes the next line that is typed as the answer; null: nothing is asked now. */
  ask(question: string | null): void;
  /** Shows other commands from now on. */
  offer(commands: readonly DemoCommand[]): void;
  /** Also restores the terminal. */
  close(): void;
}

export interface DemoCommand {
  readonly text: string;
  readonly why: string;
}

export interface DemoTexts {
  readonly commands: readonly DemoCommand[];
  readonly paint: Paint;
  /** Receives a line that was typed while something was asked; not empty. */
  answer(text: string): void;
}

/** The widest footer: wider lines are hard to read. */
const maxWidth = 120;

/** Whether a person sees the question and can answer it below the lines. */
export function isAttended({ env, interactive }: CommandIo): boolean {
  return interactive && !appendsOnly(env);
}

export async function openDemoScreen(io: CommandIo, texts: DemoTexts): Promise<DemoScreen> {
  return isAttended(io) ? attended(io, texts) : lines(io, texts);
}

function lines({ stdout }: CommandIo, { commands, paint }: DemoTexts): DemoScreen {
  const say = (text = "") => void stdout.write(`${text}\n`);
  return {
    introduce(text) {
      say(text);
      say("\nTry in a second terminal, in this folder:");
      for (const { text: typed, why } of commands) say(`  ${paint.cyan(typed)}  ${paint.dim(why)}`);
      say(paint.dim("\nCtrl-C stops the agents and deletes all of this.\n"));
    },
    say,
    ask: () => undefined,
    offer: () => undefined,
    close: () => undefined,
  };
}

async function attended(
  { stdin, stdout }: CommandIo,
  { commands, paint, answer }: DemoTexts,
): Promise<DemoScreen> {
  const { createLogUpdate } = await import("log-update");
  const footer = createLogUpdate(stdout, { showCursor: true });
  // Without an output: what is typed is drawn with the footer.
  const typing = createInterface({ input: stdin, terminal: true });
  let offered = commands;
  let question: string | null = null;
  const draw = () => {
    const width = Math.min(stdout.columns || 80, maxWidth);
    const shown = footerLines({ commands: offered, question, typed: typing.line, width, paint });
    footer(shown.join("\n"));
  };
  typing.on("line", (line) => {
    const text = line.trim();
    if (question !== null && text !== "") {
      question = null;
      answer(text);
    }
    draw();
  });
  // A terminal in raw mode sends Ctrl-C as a key.
  typing.on("SIGINT", () => process.kill(process.pid, "SIGINT"));
  stdin.on("keypress", draw);
  stdout.on("resize", draw);
  const say = (text = "") => {
    footer.persist(text);
    draw();
  };
  return {
    introduce: (text) => say(`${text}\n\n`),
    say,
    ask(next) {
      question = next;
      draw();
    },
    offer(next) {
      offered = next;
      draw();
    },
    close() {
      stdin.off("keypress", draw);
      stdout.off("resize", draw);
      typing.close();
      footer.clear();
      footer.done();
    },
  };
}

interface Footer {
  readonly commands: readonly DemoCommand[];
  readonly question: string | null;
  readonly typed: string;
  readonly width: number;
  readonly paint: Paint;
}

function footerLines({ commands, question, typed, width, paint }: Footer): readonly string[] {
  const cell = Math.max(...commands.map(({ text }) => text.length));
  const listed = commands.map(({ text, why }) => {
    const whole = `  ${text.padEnd(cell)}  ${why}`;
    if (whole.length > width) return `  ${paint.cyan(text)}`;
    return `  ${paint.cyan(text.padEnd(cell))}  ${paint.dim(why)}`;
  });
  const asked =
    question === null
      ? []
      : [
          paint.bold(fit(plainLine(question), width)),
          `> ${stripVTControlCharacters(typed).slice(-(width - 3))}`,
        ];
  return [
    paint.dim("─".repeat(width)),
    "In a second terminal, in this folder (Ctrl-C here ends the demo):",
    ...listed,
    ...asked,
  ];
}
