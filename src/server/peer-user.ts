import { readFile } from "node:fs/promises";
import type { Socket } from "node:net";

const tables = ["/proc/net/tcp", "/proc/net/tcp6"];
const root = 0;
const known = new WeakMap<Socket, Promise<boolean>>();

/**
 * True when the connection is another user's of this machine, by the kernel's own table (SAFETY T6). Asked once for each
 * connection. False where it cannot be told: beyond loopback, on another system, or from another network namespace.
 */
export function isForeignUser(socket: Socket): Promise<boolean> {
  const told = known.get(socket) ?? lookUp(socket);
  known.set(socket, told);
  return told;
}

async function lookUp({ localPort, remotePort }: Socket): Promise<boolean> {
  const own = process.getuid?.();
  if (own === undefined || process.platform !== "linux") return false;
  if (localPort === undefined || remotePort === undefined) return false;
  for (const table of tables) {
    const text = await readFile(table, "latin1").catch(() => "");
    const user = userOf(text, { from: remotePort, to: localPort });
    if (user !== null) return user !== own && user !== root;
  }
  return false;
}

/** The user of the loopback connection between two ports in a table such as `/proc/net/tcp`; null when it is not there. */
export function userOf(table: string, ports: { from: number; to: number }): number | null {
  const from = `:${hex(ports.from)}`;
  const to = `:${hex(ports.to)}`;
  for (const line of table.split("\n")) {
    if (!line.includes(from)) continue;
    const [, local = "", remote = "", , , , , user] = line.trim().split(/\s+/);
    if (local.endsWith(from) && remote.endsWith(to) && isLoopback(local)) return Number(user);
  }
  return null;
}

function hex(port: number): string {
  return port.toString(16).toUpperCase().padStart(4, "0");
}

/** The kernel writes addresses in the machine's byte order: 127.x.y.z ends in 7F, ::1 in a last word of 01000000. */
function isLoopback(address: string): boolean {
  const [host = ""] = address.split(":");
  return host.slice(-2) === "7F" || host === "00000000000000000000000001000000";
}
