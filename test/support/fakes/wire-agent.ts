import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Bench } from "../worlds/scripted-agent.ts";

/** What the agent below does when a method arrives; `"$id"` and `"$turn"` are replaced. */
export type Reaction =
  | { readonly send: unknown }
  | { readonly raw: string; readonly bytewise?: boolean }
  | { readonly stderr: string }
  | { readonly exit: number };

export type Reactions = Readonly<Record<string, readonly Reaction[]>>;

const agentFile = fileURLToPath(new URL("./wire-agent-main.ts", import.meta.url));

/** The command of an agent that follows `reactions` exactly and gives default answers to other methods. */
export async function wireAgent(bench: Bench, reactions: Reactions): Promise<string> {
  const file = join(bench.root, "reactions.json");
  await writeFile(file, JSON.stringify(reactions));
  return `"${process.execPath}" "${agentFile}" "${file}" "${join(bench.root, "received.jsonl")}"`;
}

export interface Received {
  readonly id?: number | string;
  readonly method?: string;
  readonly params?: Readonly<Record<string, unknown>>;
  readonly result?: unknown;
  readonly error?: { readonly code: number; readonly message: string };
}

/** Every message that the agent received, in order. */
export async function received(bench: Bench): Promise<Received[]> {
  const text = await readFile(join(bench.root, "received.jsonl"), "utf8").catch(() => "");
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line));
}

/** Answers `turn/start`, then sends the given notifications. */
export function turnWith(...messages: readonly unknown[]): readonly Reaction[] {
  return [reply({ turn: { id: "$turn" } }), ...messages.map((send) => ({ send }))];
}

export function reply(result: unknown): Reaction {
  return { send: { id: "$id", result } };
}

export const completed = {
  method: "turn/completed",
  params: { threadId: "thread-1", turn: { id: "$turn", status: "completed" } },
};
