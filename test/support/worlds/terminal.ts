import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { symphonyFile } from "../makers/program.ts";
import type { Place } from "./symphony.ts";

/** Found before a test changes the PATH. */
const python =
  spawnSync("python3", ["-c", "import sys; print(sys.executable)"], { encoding: "utf8" }).stdout ??
  "";
const onTerminal = fileURLToPath(new URL("../fakes/on-terminal.py", import.meta.url));

/** Why tests on a terminal are skipped; false: they can run. */
export const noTerminal =
  spawnSync("python3", ["-c", "import pty, os; os.waitstatus_to_exitcode"]).status === 0
    ? false
    : "needs python3 for a terminal";

/** What is typed after which text is shown. */
export type Typing = readonly (readonly [shown: string, typed: string])[];

/** One command of symphony on a terminal. */
export async function onItsTerminal(
  { cwd, env, dataDir }: Place,
  {
    typing,
    own = {},
  }: { readonly typing: Typing; readonly own?: Readonly<Record<string, string>> },
  ...args: string[]
) {
  const command = [process.execPath, symphonyFile, ...args, "--data-dir", dataDir];
  const child = spawn(python.trim(), [onTerminal, "--steps", JSON.stringify(typing), ...command], {
    cwd,
    env: { ...process.env, ...env, NO_COLOR: "1", TERM: "xterm-256color", ...own },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [shown, [code]] = await Promise.all([text(child.stdout), once(child, "close")]);
  return { code, shown };
}
