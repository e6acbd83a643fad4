import { randomBytes } from "node:crypto";
import { lstat, mkdtemp, readdir, realpath, rm, writeFile } from "node:fs/promises";
import { createConnection, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { ownPaths, program } from "../package.ts";
import { LineSplitter } from "../process/lines.ts";
import { isSystem, type Shown } from "../process/view.ts";
import { objectOf, parseJson, sameText } from "../text/text.ts";
import type { AgentEvent, AgentTools } from "./agent.ts";
import { answerMcp, refusal, trackerServer } from "./mcp.ts";

/*
 * The tracker's tools for agents that are separate programs: they start `symphony mcp-bridge` as a
 * server of the Model Context Protocol, which passes its stdin and stdout to a unix socket of this
 * process. The tools run here, so the tracker's credential never reaches the agent.
 */

/** The variable that names the directory of the socket and the token. */
export const bridgeVariable = "SYMPHONY_MCP_BRIDGE";
/** A unix socket's path has at most 108 bytes, on macOS 104. */
const maxSocketPath = 100;
const tokenBytes = 32;
/** Agents start one or two bridges: the second for a sub-agent. */
const maxConnections = 16;
const maxLineBytes = 1024 * 1024;
/** Calls of one bridge that are answered at the same time. */
const maxOpenCalls = 32;
const parseError = -32_700;
const tooMany = -32_000;

export interface BridgeDeps {
  readonly tools: AgentTools;
  /** The agent wrote to the bridge; with an event when it used a tool. Must not throw. */
  onUse(event: AgentEvent | null): void;
}

/** How an agent starts its end of the bridge. */
export interface BridgeCommand {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/** The tools of one attempt at a unix socket, until it is disposed. */
export interface Bridge extends AsyncDisposable {
  readonly server: BridgeCommand;
  /** A file that names `server` in the format of Claude Code's `--mcp-config`. */
  readonly configPath: string;
  /** What the sandbox has to show of this machine. */
  readonly shown: readonly Shown[];
}

/** Opens the bridge; null when the tracker has no tools. */
export async function openBridge(deps: BridgeDeps): Promise<Bridge | null> {
  if (deps.tools.specs.length === 0) return null;
  const dir = await privateDir();
  const token = randomBytes(tokenBytes).toString("base64url");
  const connections = new Set<Socket>();
  const listening = createServer((socket) => {
    if (connections.size >= maxConnections) return socket.destroy();
    connections.add(socket);
    socket.once("close", () => connections.delete(socket));
    serve(socket, token, deps);
  });
  const server = commandOf(dir);
  const configPath = join(dir, "mcp.json");
  const close = async () => {
    for (const one of connections) one.destroy();
    await new Promise((resolve) => listening.close(resolve));
    await rm(dir, { recursive: true, force: true });
  };
  try {
    await writeFile(join(dir, "token"), token, { mode: 0o600 });
    await writeFile(configPath, configOf(server), { mode: 0o600 });
    await listen(listening, join(dir, "socket"));
  } catch (error) {
    await close();
    throw error;
  }
  return { server, configPath, shown: await shownFor(dir), [Symbol.asyncDispose]: close };
}

const prefix = "symphony-mcp-";
/** A folder without a socket may belong to a bridge that is being opened now. */
const unopenedMs = 60_000;

/** Only this user can enter it: mode 0700. */
async function privateDir(): Promise<string> {
  const wanted = join(await realpath(tmpdir()), prefix);
  const isShort = Buffer.byteLength(wanted) + "XXXXXX/socket".length <= maxSocketPath;
  return mkdtemp(isShort ? wanted : `/tmp/${prefix}`);
}

/**
 * Removes the folders of bridges whose server was killed: those of this user in which no process listens. A process of
 * another container is not seen by its id, and its socket answers all the same. Resolves with their number.
 */
export async function sweepBridges(wall: number, dirs?: readonly string[]): Promise<number> {
  const places = new Set(dirs ?? [await realpath(tmpdir()), "/tmp"]);
  let swept = 0;
  for (const place of places) {
    const names = await readdir(place).catch(() => []);
    for (const name of names) {
      const dir = join(place, name);
      if (!name.startsWith(prefix) || !(await isLeft(dir, wall))) continue;
      await rm(dir, { recursive: true, force: true });
      swept += 1;
    }
  }
  return swept;
}

async function isLeft(dir: string, wall: number): Promise<boolean> {
  const stats = await lstat(dir).catch(() => null);
  if (!stats?.isDirectory() || stats.uid !== process.getuid?.()) return false;
  const socket = join(dir, "socket");
  const hasSocket = await lstat(socket).catch(() => null);
  if (!hasSocket) return wall - stats.mtimeMs > unopenedMs;
  return refuses(socket);
}

/** Whether a socket has no listener. */
function refuses(path: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = createConnection(path);
  socket.once("connect", () => resolve(false));
  socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code === "ECONNREFUSED"));
  return promise.finally(() => socket.destroy());
}

function listen(server: Server, path: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject);
  server.listen(path, resolve);
  return promise;
}

function commandOf(dir: string): BridgeCommand {
  return {
    name: trackerServer,
    command: process.execPath,
    args: [program, "mcp-bridge"],
    env: { [bridgeVariable]: dir },
  };
}

function configOf({ name, command, args, env }: BridgeCommand): string {
  return JSON.stringify({ mcpServers: { [name]: { type: "stdio", command, args, env } } });
}

/** This program without its packages, which `mcp-bridge` does not load. */
async function shownFor(dir: string): Promise<readonly Shown[]> {
  const programs = [process.execPath, ...ownPaths].filter((path) => !isSystem(path));
  // A socket is covered unless it is named itself.
  const shown = [...programs, dir, join(dir, "socket")];
  return Promise.all(
    shown.map(async (path) => ({ from: await realpath(path), to: path, as: "readable" as const })),
  );
}

/** One connection: the token on the first line, then one message of the protocol on each line. */
function serve(socket: Socket, token: string, { tools, onUse }: BridgeDeps): void {
  let isTrusted = false;
  let open = 0;
  let begun: Promise<unknown> = Promise.resolve();
  const send = (message: object) => {
    if (socket.destroyed) return;
    // An agent that sends requests without reading the answers would fill this process with them.
    if (!socket.write(`${JSON.stringify(message)}\n`)) socket.pause();
  };
  socket.on("drain", () => socket.resume());
  const answer = async (message: unknown) => {
    open += 1;
    // One in each turn of the loop: a tool may wait for the disk, and an agent may call many at once.
    begun = begun.then(() => setImmediate());
    await begun;
    const { response, event } = await answerMcp(message, tools);
    open -= 1;
    if (socket.destroyed) return;
    onUse(event);
    if (response !== null) send(response);
  };
  const received = (line: string) => {
    if (!isTrusted) {
      isTrusted = sameText(line, token);
      if (!isTrusted) socket.destroy();
      return;
    }
    if (socket.destroyed || line.trim() === "") return;
    onUse(null);
    const message = parseJson(line);
    if (message === undefined) return send(refusal(null, parseError, "this is not JSON"));
    if (open >= maxOpenCalls)
      return send(refusal(idOf(message), tooMany, "too many calls at once"));
    void answer(message);
  };
  const lines = new LineSplitter({ maxBytes: maxLineBytes, overflow: "fail", onLine: received });
  socket.on("error", () => {});
  socket.on("data", (chunk) => {
    try {
      if (!socket.destroyed) lines.push(chunk);
    } catch {
      // The line is too long.
      socket.destroy();
    }
  });
}

function idOf(message: unknown): string | number | null {
  const { id } = objectOf(message);
  return typeof id === "string" || typeof id === "number" ? id : null;
}
