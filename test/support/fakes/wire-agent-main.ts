import { appendFileSync, readFileSync } from "node:fs";
import type { Reaction, Reactions } from "./wire-agent.ts";

const [, , reactionsFile = "", receivedFile = ""] = process.argv;
const reactions: Reactions = JSON.parse(readFileSync(reactionsFile, "utf8"));
let turns = 0;

const polite: Readonly<Record<string, unknown>> = {
  "thread/start": { thread: { id: "thread-1" } },
  "thread/resume": { thread: { id: "thread-1" } },
  "turn/start": { turn: { id: "$turn" } },
};

function defaultReactions(method: string): readonly Reaction[] {
  const answer = { send: { id: "$id", result: polite[method] ?? {} } };
  if (method !== "turn/interrupt") return [answer];
  const turn = { id: "$turn", status: "interrupted" };
  return [answer, { send: { method: "turn/completed", params: { threadId: "thread-1", turn } } }];
}

function react(reaction: Reaction, id: unknown): void {
  if ("exit" in reaction) process.exit(reaction.exit);
  if ("stderr" in reaction) process.stderr.write(reaction.stderr);
  if ("send" in reaction) {
    const line = JSON.stringify(reaction.send)
      .replaceAll('"$id"', JSON.stringify(id))
      .replaceAll("$turn", `turn-${turns}`);
    write(`${line}\n`, false);
  }
  if ("raw" in reaction)
    write(reaction.raw.replaceAll("$turn", `turn-${turns}`), reaction.bytewise);
}

function write(text: string, bytewise = false): void {
  const bytes = Buffer.from(text);
  if (!bytewise) process.stdout.write(bytes);
  else for (const byte of bytes) process.stdout.write(Buffer.of(byte));
}

let rest = "";
process.stdin.setEncoding("utf8");
process.stdin.on("data", (chunk: string) => {
  const lines = (rest + chunk).split("\n");
  rest = lines.pop() ?? "";
  for (const line of lines) receive(line);
});

function receive(line: string): void {
  appendFileSync(receivedFile, `${line}\n`);
  const { id, method } = JSON.parse(line);
  if (method === "turn/start") turns++;
  if (method === undefined) play(reactions["answer"] ?? [], id);
  else play(reactions[method] ?? (id === undefined ? [] : defaultReactions(method)), id);
}

function play(list: readonly Reaction[], id: unknown): void {
  for (const reaction of list) react(reaction, id);
}
