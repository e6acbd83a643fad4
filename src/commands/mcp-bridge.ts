import { SymphonyError } from "../core/model/errors.ts";
import { exitCodes } from "./failure.ts";

// Not imported by name: agents start this often, and few modules make it fast.
const { readFileSync } = process.getBuiltinModule("node:fs");
const { join } = process.getBuiltinModule("node:path");

/**
 * The end of the tool bridge that an agent starts: passes stdin to the socket of the server that
 * started the agent, and its answers to stdout. Resolves when either side ends.
 */
export async function bridge(dir: string | undefined): Promise<number> {
  if (!dir) {
    throw new SymphonyError("usage", "mcp-bridge is started by an agent of symphony, not by hand", {
      hint: "symphony mcp offers the API to your own MCP client",
    });
  }
  const token = tokenIn(dir);
  const { connect } = process.getBuiltinModule("node:net");
  const socket = connect(join(dir, "socket"));
  const ended = Promise.withResolvers<void>();
  socket.once("error", (cause) => ended.reject(gone(cause)));
  socket.once("close", () => ended.resolve());
  socket.write(`${token}\n`);
  process.stdin.pipe(socket);
  socket.pipe(process.stdout);
  try {
    await ended.promise;
  } finally {
    // An agent that keeps it open must not keep this process.
    process.stdin.destroy();
  }
  return exitCodes.done;
}

function tokenIn(dir: string): string {
  try {
    return readFileSync(join(dir, "token"), "utf8");
  } catch (cause) {
    throw gone(cause);
  }
}

function gone(cause: unknown): SymphonyError {
  const message = "the attempt that these tools belong to has ended";
  return new SymphonyError("server_unreachable", message, { cause });
}
