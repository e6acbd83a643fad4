import { appendFileSync, readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";
import type { CommandScript, CommandStep } from "./command-script.ts";
import { runCommand } from "./run-command.ts";
import { nextTurn } from "./turn-count.ts";

// A program for agent.kind command that plays the script named by its argument: one process for each turn. It writes
// symphony's own JSON lines, or plain text with `plain`.

const [, , file = "", journal = "", format = ""] = process.argv;
const script: CommandScript = JSON.parse(readFileSync(file, "utf8"));
const isPlain = format === "plain";
const note = (method: string, params: unknown) =>
  appendFileSync(journal, `${JSON.stringify({ method, params })}\n`);
const write = (message: object, words = "") =>
  process.stdout.write(isPlain ? words : `${JSON.stringify(message)}\n`);

/** Guidance that was not taken up yet. */
const guidance: { readonly id: string; readonly message: string }[] = [];
let wake = Promise.withResolvers<void>();

function listen(): void {
  createInterface({ input: process.stdin }).on("line", (line) => {
    const message = JSON.parse(line);
    note(message.type, message);
    if (message.type !== "steer") return;
    guidance.push(message);
    wake.resolve();
  });
}

let used = { input: 0, output: 0 };

async function play(step: CommandStep): Promise<void> {
  switch (step.do) {
    case "say":
      write({ type: "message", text: step.text }, `${step.text}\n\n`);
      return;
    case "run": {
      const { command } = step;
      write({ type: "command", command, status: "started" });
      const { output, code } = await runCommand(command);
      const status = code === 0 ? "completed" : "failed";
      write({ type: "command", command, status, exit_code: code, output }, `${output}\n\n`);
      return;
    }
    case "use":
      used = { input: used.input + step.input, output: used.output + step.output };
      write({ type: "tokens", input_tokens: used.input, output_tokens: used.output });
      return;
    case "guided":
      while (guidance.length === 0) {
        await wake.promise;
        wake = Promise.withResolvers();
      }
      for (const { id } of guidance.splice(0)) write({ type: "steer_delivered", id });
      return;
    case "write":
      write(step.line, `${JSON.stringify(step.line)}\n\n`);
  }
}

const promptFile = process.env["SYMPHONY_PROMPT_FILE"];
note("prompt", promptFile ? readFileSync(promptFile, "utf8") : await text(process.stdin));
if (promptFile) listen();
write({ type: "session", id: process.env["SYMPHONY_SESSION"] ?? "command-1" });
const { turns } = script;
const turn = turns[Math.min(nextTurn(file), turns.length - 1)];
for (const step of turn?.steps ?? []) await play(step);
if (turn?.fails !== undefined) process.stderr.write(`${turn.fails}\n`);
write(turn?.result ?? { type: "result", success: true });
process.stdout.write("", () => process.exit(turn?.fails === undefined ? 0 : 1));
