import { messageOf, SymphonyError, systemCodeOf } from "../core/model/errors.ts";
import { exitCodes, reportFailure } from "./failure.ts";

// What happens when stdout can no longer be written: its reader or its terminal is gone, or its disk is full.

type Ending = (exitCode: number) => void;

let ending: Ending | null = null;

/** Ends the process when its stdout fails, or lets the function of `onLostOutput` end it. */
export function watchOutput(argv: readonly string[]): void {
  let isLost = false;
  process.stdout.on("error", (error) => {
    // Every later write fails as well.
    if (isLost) return;
    isLost = true;
    const code = hasLeft(error) ? exitCodes.done : report(error, argv);
    if (ending === null) process.exit(code);
    ending(code);
  });
  // Messages are lost; what the command does and its exit code stay as they are.
  process.stderr.on("error", () => {});
}

/** For a command that has to clean up first: `end` gets the exit code to end with. */
export function onLostOutput(end: Ending): void {
  ending = end;
}

/** `symphony events | head` closes stdout in mid-stream, which is no failure; a closed terminal answers EIO. */
function hasLeft(error: Error): boolean {
  return ["EPIPE", "EIO", "ECONNRESET"].includes(String(systemCodeOf(error)));
}

function report(cause: Error, argv: readonly string[]): number {
  const message = `The output could not be written: ${messageOf(cause)}`;
  const error = new SymphonyError("storage_unavailable", message, { cause });
  return reportFailure(error, { argv, stderr: process.stderr });
}
