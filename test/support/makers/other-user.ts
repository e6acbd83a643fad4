import { execFile, spawnSync } from "node:child_process";
import { promisify } from "node:util";

/** `nobody`: a user of this machine that is not the one who runs the tests. */
export const otherUid = 65_534;

/** The process may still read and write everywhere, so that a checkout in root's home can be read. */
const change = [
  ...["--reuid", String(otherUid), "--regid", String(otherUid), "--clear-groups"],
  ...["--inh-caps", "+dac_override", "--ambient-caps", "+dac_override"],
];

/** Why no second user is available here; false when there is one. */
export const noOtherUser =
  process.getuid?.() === 0 && spawnSync("setpriv", [...change, "true"]).status === 0
    ? false
    : "needs root and setpriv for a second user";

/** The command that starts this Node with `args` as that user. */
export function asOther(args: readonly string[]): readonly [command: string, args: string[]] {
  return ["setpriv", [...change, process.execPath, ...args]];
}

/** The lines that this Node prints with `args`; rejects when its exit code is not 0. */
export function linesOf(args: readonly string[]): Promise<readonly string[]> {
  return linesFrom(process.execPath, [...args]);
}

/** Like `linesOf`, but runs Node as the other user. */
export function linesAsOther(args: readonly string[]): Promise<readonly string[]> {
  return linesFrom(...asOther(args));
}

/** Like `linesOf`, for any program. */
export async function linesFrom(command: string, args: string[]): Promise<readonly string[]> {
  const { stdout } = await promisify(execFile)(command, args);
  return stdout.split("\n").filter((line) => line !== "");
}
