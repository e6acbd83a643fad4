import { execFile, spawnSync } from "node:child_process";
import { promisify } from "node:util";

/** `nobody`: a user of this machine that is not the one who runs the tests. */
export const otherUid = 65_534;

/** May read and write everywhere all the same, so that a checkout in root's home is found. */
const change = [
  ...["--reuid", String(otherUid), "--regid", String(otherUid), "--clear-groups"],
  ...["--inh-caps", "+dac_override", "--ambient-caps", "+dac_override"],
];

/** Why no second user is to be had here; false when there is one. */
export const noOtherUser =
  process.getuid?.() === 0 && spawnSync("setpriv", [...change, "true"]).status === 0
    ? false
    : "needs root and setpriv for a second user";

/** How to start this Node with `args` as that user. */
export function asOther(args: readonly string[]): readonly [command: string, args: string[]] {
  return ["setpriv", [...change, process.execPath, ...args]];
}

/** What this Node prints with `args`, line by line, once it has ended well. */
export function linesOf(args: readonly string[]): Promise<readonly string[]> {
  return linesFrom(process.execPath, [...args]);
}

/** The same as the other user. */
export function linesAsOther(args: readonly string[]): Promise<readonly string[]> {
  return linesFrom(...asOther(args));
}

/** The same of any program. */
export async function linesFrom(command: string, args: string[]): Promise<readonly string[]> {
  const { stdout } = await promisify(execFile)(command, args);
  return stdout.split("\n").filter((line) => line !== "");
}
