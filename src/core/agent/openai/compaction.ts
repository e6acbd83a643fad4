import { type Item, userMessage } from "./items.ts";

/** Asks for the summary that takes the place of the older part. */
export const summaryPrompt = `You are performing a CONTEXT CHECKPOINT: the conversation is about to be shortened. Write a summary for yourself with which the work can go on without a break: the task and its conditions, what was found out, what was changed in which files, what was tried in vain, what is to be done next. Call no tool.`;

const charsPerToken = 4;
const longestTaskChars = 40_000;

/** A rough number of tokens. */
export function tokensIn(items: readonly Item[]): number {
  return Math.ceil(JSON.stringify(items).length / charsPerToken);
}

/** Where the newest part begins that fits into `tokens`: never between a call and its answer. */
export function tailStart(items: readonly Item[], tokens: number): number {
  let start = items.length;
  for (let left = tokens; start > 0; start--) {
    const item = items[start - 1];
    left -= item ? tokensIn([item]) : 0;
    if (left < 0) break;
  }
  while (start < items.length && !standsAlone(items, start)) start++;
  return start;
}

/** The first task, the summary of the older part, the newest part as it was. */
export function shortened(
  items: readonly Item[],
  start: number,
  summary: string | null,
): readonly Item[] {
  const task = items.find((item) => item.type === "message" && item.role === "user");
  const opening =
    task?.type === "message" && items.indexOf(task) < start
      ? [userMessage(task.content.slice(0, longestTaskChars))]
      : [];
  const words = summary ?? "It could not be summed up. Look at the workspace for what was done.";
  const bridge = userMessage(`The older part of this conversation was left out. ${words}`);
  return [...opening, bridge, ...items.slice(start)];
}

function standsAlone(items: readonly Item[], start: number): boolean {
  const calls = new Set<string>();
  for (const item of items.slice(start)) {
    if (item.type === "function_call") calls.add(item.call_id);
    if (item.type === "function_call_output" && !calls.has(item.call_id)) return false;
  }
  return true;
}
