import { existsSync, readFileSync, writeFileSync } from "node:fs";

/** The number of the next turn over all processes that play the script `file`, from 0. */
export function nextTurn(file: string): number {
  const counter = `${file}.turns`;
  const number = existsSync(counter) ? Number(readFileSync(counter, "utf8")) : 0;
  writeFileSync(counter, String(number + 1));
  return number;
}
