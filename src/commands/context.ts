import { type Client, createClient, isSilence, open, type Server } from "../client/client.ts";
import type { StreamWish } from "../client/events.ts";
import type { Api } from "../contract/api.ts";
import { wholeText } from "../core/answers.ts";
import { SymphonyError } from "../core/model/errors.ts";
import { version } from "../core/package.ts";
import { exitCodes } from "./failure.ts";
import {
  columnsOf,
  foldLines,
  jsonText,
  type Paint,
  paintFor,
  plainLine,
  wantsColour,
} from "./output.ts";

/** The options that every command has, as parsed. */
export interface GlobalOptions {
  readonly url?: string;
  readonly dataDir?: string;
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly debug?: boolean;
  readonly color: "auto" | "always" | "never";
  /** False after `--no-input`. */
  readonly input: boolean;
  readonly yes?: boolean;
}

/** What a command may use. */
export interface CommandContext extends CommandIo {
  readonly where: Whereabouts;
  /** Columns to fit human output into; null when stdout is not a terminal. */
  readonly width: number | null;
  discovery(): Promise<Discovery>;
  server(): Promise<Server>;
  /** Finds the server again, which a restart may have given another address or token; `server` and `client` are then those. */
  renewed(): Promise<Server>;
  client(): Promise<Client<Api>>;
  paint(): Promise<Paint>;
  /** Human data: one or more lines on stdout. */
  print(text: string): void;
  /** One JSON document on stdout. */
  printJson(value: unknown): void;
  /** One line of a stream on stdout; resolves when the reader has taken it. */
  printRecord(text: string): Promise<void>;
  /** A message on stderr, unless `--quiet` or `--json`. */
  note(text: string): void;
  /** Aborts at the first Ctrl-C, SIGTERM or SIGHUP, which from then on no longer end the process at once. */
  interrupted(): AbortSignal;
}

/** How a command declares what it does; the number is the exit code. */
export type Run = (work: (context: CommandContext) => Promise<number>) => Promise<void>;

type Streams = Pick<NodeJS.Process, "stdin" | "stdout" | "stderr">;

export function createContext(options: GlobalOptions, streams: Streams): CommandContext {
  const io = commandIo(options, streams);
  const where = { url: options.url, dataDir: options.dataDir, env: io.env, cwd: io.cwd };
  const note = (text: string) => {
    if (io.quiet || io.json) return;
    io.stderr.write(`${foldLines([plainLine(text)], columnsOf(io.stderr), 4).join("\n")}\n`);
  };
  const userAgent = `symphony-cli/${version()}`;
  const discovery = memo(async () => {
    const found = await findServer(where, userAgent);
    if (found.remark !== null) note(`${found.remark}; trying ${found.server.baseUrl}`);
    return found;
  });
  let found: Server | null = null;
  let made: { readonly server: Server; readonly client: Client<Api> } | null = null;
  const server = async () => {
    found ??= (await discovery()).server;
    return found;
  };
  return Object.assign(io, {
    where,
    width: columnsOf(io.stdout),
    discovery,
    server,
    async renewed() {
      const again = await findServer(where, userAgent);
      // Where no server runs for now, it is tried at its last address.
      if (again.certain) found = again.server;
      return server();
    },
    async client() {
      const current = await server();
      if (made?.server !== current) made = { server: current, client: createClient(current) };
      return made.client;
    },
    paint: memo(() => paintFor(io.colour)),
    print: (text: string) => void io.stdout.write(`${text}\n`),
    printJson: (value: unknown) => void io.stdout.write(`${jsonText(value)}\n`),
    printRecord: async (text: string) => {
      const taken = io.stdout.write(`${text}\n`);
      if (!taken) await new Promise((resolve) => io.stdout.once("drain", resolve));
    },
    note,
    interrupted: memo(interruption),
  });
}

function commandIo(options: GlobalOptions, streams: Streams): CommandIo {
  const json = options.json === true;
  const { stdout } = streams;
  return {
    // Node creates the stream at the first access, and most commands never read it.
    get stdin() {
      return streams.stdin;
    },
    stdout,
    get stderr() {
      return streams.stderr;
    },
    env: process.env,
    cwd: process.cwd(),
    json,
    quiet: options.quiet === true,
    debug: options.debug === true,
    yes: options.yes === true,
    get interactive() {
      return options.input && !json && this.stdin.isTTY === true && this.stderr.isTTY === true;
    },
    colour: !json && wantsColour(options.color, process.env, stdout.isTTY === true),
  };
}

function memo<T>(make: () => T): () => T {
  let made: { readonly value: T } | null = null;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}

/** After this time a second signal ends a command that does not stop by itself. */
const patienceMs = 1_000;

function interruption(): AbortSignal {
  const controller = new AbortController();
  let firstAt: number | null = null;
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(signal, () => {
      firstAt ??= performance.now();
      if (performance.now() - firstAt > patienceMs) process.exit(exitCodes.interrupted);
      controller.abort();
    });
  }
  return controller.signal;
}

// Not imported by name: node:fs alone would cost 3 ms of every start.
const { existsSync, readFileSync, statSync } = process.getBuiltinModule("node:fs");
const { dirname, join, resolve } = process.getBuiltinModule("node:path");

/** Where to look for a server and a project. */
export interface Whereabouts {
  readonly url: string | undefined;
  readonly dataDir: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
}

/** What a running server writes into its data directory for clients. */
interface RuntimeFile {
  readonly file: string;
  readonly url: string;
  readonly pid: number;
  readonly token: string | null;
}

export interface Discovery {
  readonly server: Server;
  /** True when the address was given or a live server of this project was found. */
  readonly certain: boolean;
  /** Why the project's own runtime.json was ignored. */
  readonly remark: string | null;
}

export const defaultUrl = "http://127.0.0.1:4000";
const lifeCheckMs = 5_000;

/**
 * The server to talk to and the token it may see, in the order of the command line contract. Rejects with `server_unreachable`
 * where the server of this project may run and gives no answer: another one must not get what is meant for it.
 */
export async function findServer(where: Whereabouts, userAgent: string): Promise<Discovery> {
  const given = where.url ?? (where.env["SYMPHONY_URL"] || undefined);
  const dataDir = findDataDir(where);
  const runtime = dataDir === null ? null : runtimeIn(dataDir);
  const ownToken = where.env["SYMPHONY_TOKEN"] || null;
  if (given !== undefined) {
    const sameServer = runtime !== null && originOf(given) === originOf(runtime.url);
    const token = ownToken ?? (sameServer && isOurs(runtime) ? runtime.token : null);
    return { server: { baseUrl: given, token, userAgent }, certain: true, remark: null };
  }
  const remark = runtime === null ? null : await reasonToIgnore(runtime, userAgent);
  if (runtime === null || remark !== null) {
    const server = { baseUrl: defaultUrl, token: ownToken, userAgent };
    return { server, certain: false, remark };
  }
  const token = ownToken ?? runtime.token;
  return { server: { baseUrl: runtime.url, token, userAgent }, certain: true, remark: null };
}

/** The project's data directory: given, or the first `.symphony` that exists; null when there is none. */
export function findDataDir(where: Omit<Whereabouts, "url">): string | null {
  const given = where.dataDir ?? (where.env["SYMPHONY_DATA_DIR"] || undefined);
  if (given !== undefined) return resolve(where.cwd, given);
  const home = where.env["HOME"];
  const upward = ancestors(where.cwd).map((dir) => join(dir, ".symphony"));
  const all = home ? [...upward, join(home, ".symphony")] : upward;
  return all.find(isDirectory) ?? null;
}

/** How a command that shows events follows them through a restart of the server. */
export function reconnecting({
  renewed,
  note,
}: Pick<CommandContext, "renewed" | "note">): Pick<StreamWish, "renew" | "onLost"> {
  return {
    renew: renewed,
    onLost(lost, delayMs) {
      const what = lost?.code === "unauthorized" ? "the token is refused" : "connection lost";
      note(`${what}; trying again in ${delayMs} ms`);
    },
  };
}

/** What a command without a server works on. */
export interface Project {
  readonly dataDir: string;
  /** Null when no workflow file goes with the data directory. */
  readonly workflowPath: string | null;
}

/** The current project: given, or the nearest directory upward with a WORKFLOW.md or a store; null without one. */
export function findProject(where: Omit<Whereabouts, "url">): Project | null {
  const given = where.dataDir ?? (where.env["SYMPHONY_DATA_DIR"] || undefined);
  const here = ancestors(where.cwd);
  if (given !== undefined) {
    const dataDir = resolve(where.cwd, given);
    return { dataDir, workflowPath: workflowIn(dirname(dataDir)) ?? workflowIn(where.cwd) };
  }
  // ~/.symphony also holds workspaces: a directory of that name alone is no project.
  const root = here.find(
    (dir) => workflowIn(dir) !== null || existsSync(join(dir, ".symphony", "issues.db")),
  );
  if (root === undefined) return null;
  return { dataDir: join(root, ".symphony"), workflowPath: workflowIn(root) };
}

/** A workflow file that need not be there, and its data directory. */
export interface Place {
  readonly workflowPath: string;
  readonly dataDir: string;
}

/** The place of a workflow file that was named, or of `./WORKFLOW.md`. */
export function placeOf(
  workflow: string | undefined,
  { where }: Pick<CommandContext, "where">,
): Place {
  const workflowPath = resolve(where.cwd, workflow ?? "WORKFLOW.md");
  const given = where.dataDir ?? (where.env["SYMPHONY_DATA_DIR"] || undefined);
  // `--data-dir ""` means none.
  const dataDir = given ? resolve(where.cwd, given) : join(dirname(workflowPath), ".symphony");
  return { workflowPath, dataDir };
}

/** The same of a file that is there. Throws `missing_workflow_file`, which names the absolute path (C-2). */
export function servedProject(
  workflow: string | undefined,
  context: Pick<CommandContext, "where">,
): Place {
  const place = placeOf(workflow, context);
  const { workflowPath } = place;
  const found = statSync(workflowPath, { throwIfNoEntry: false });
  if (found?.isFile()) return place;
  const why = found === undefined ? "does not exist" : "is not a file";
  throw new SymphonyError("missing_workflow_file", `workflow file ${workflowPath} ${why}`, {
    details: { path: workflowPath },
    hint: "symphony init writes one, or try symphony demo",
  });
}

function workflowIn(dir: string): string | null {
  const path = join(dir, "WORKFLOW.md");
  return existsSync(path) ? path : null;
}

/** `dir` and every directory above it. */
function ancestors(dir: string): string[] {
  const above = dirname(dir);
  return above === dir ? [dir] : [dir, ...ancestors(above)];
}

const maxRuntimeBytes = 64 * 1024;

/** The runtime.json of a data directory; null where there is none that can be read. */
export function runtimeIn(dataDir: string): RuntimeFile | null {
  const file = join(dataDir, "runtime.json");
  try {
    const found = statSync(file, { throwIfNoEntry: false });
    // Opening a pipe would wait for a writer.
    if (!found?.isFile() || found.size > maxRuntimeBytes) return null;
    const { url, pid, token } = JSON.parse(readFileSync(file, "utf8"));
    if (typeof url !== "string" || !Number.isSafeInteger(pid) || pid <= 0) return null;
    return { file, url, pid, token: typeof token === "string" ? token : null };
  } catch {
    return null;
  }
}

/** Why a runtime.json is not trusted, or null. The file may outlive its server, or have been copied from elsewhere. */
async function reasonToIgnore(runtime: RuntimeFile, userAgent: string): Promise<string | null> {
  if (!isAlive(runtime.pid)) return `${runtime.file} is left over: process ${runtime.pid} is gone`;
  if (!isThisMachine(runtime.url)) return `${runtime.file} names ${runtime.url}, another machine`;
  const answers = await answersAs(runtime, userAgent);
  return answers
    ? null
    : `${runtime.file} is left over: its server does not answer at ${runtime.url}`;
}

function isOurs(runtime: RuntimeFile): boolean {
  return isAlive(runtime.pid) && isThisMachine(runtime.url);
}

/** EPERM means a process of another user: it has reused the pid of a server that is gone. */
function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** The process is on this machine, so its address must be too; its token is never sent to another machine. */
function isThisMachine(url: string): boolean {
  const host = URL.parse(url)?.hostname.replace(/^\[(.*)\]$/, "$1") ?? "";
  if (host === "localhost" || host === "::1" || /^127(\.\d+){3}$/.test(host)) return true;
  const { networkInterfaces } = process.getBuiltinModule("node:os");
  const own = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  return own.some(({ address }) => address === host);
}

/** Sends no token: another program may have taken the port. A server that requires one answers 401. */
async function answersAs(runtime: RuntimeFile, userAgent: string): Promise<boolean> {
  const server = { baseUrl: runtime.url, userAgent };
  try {
    const request = { method: "GET", path: "/api/v1/runtime", timeoutMs: lifeCheckMs };
    const response = await open(server, request);
    const body = JSON.parse(await wholeText(response, { host: runtime.url, kind: "other" }));
    return response.statusCode === 401
      ? body.error?.code === "unauthorized"
      : body.pid === runtime.pid;
  } catch (error) {
    if (isSilence(error)) throw silent(runtime, error);
    return false;
  }
}

function silent({ file, url, pid }: RuntimeFile, cause: unknown): SymphonyError {
  const message = `The server of this project, process ${pid}, does not answer at ${url} within ${lifeCheckMs / 1_000} s`;
  return new SymphonyError("server_unreachable", message, {
    ...{ cause, details: { url } },
    hint: `try again; if it is not a symphony server any more, remove ${file}`,
  });
}

function originOf(url: string): string | null {
  return URL.parse(url)?.origin ?? null;
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

/** Streams, environment and the options that every command has. */
export interface CommandIo {
  readonly stdin: NodeJS.ReadStream;
  readonly stdout: NodeJS.WriteStream;
  readonly stderr: NodeJS.WriteStream;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly json: boolean;
  readonly quiet: boolean;
  readonly debug: boolean;
  /** Confirmations are answered with yes. */
  readonly yes: boolean;
  /** A person can be asked: a terminal on both sides, and no `--no-input` or `--json`. */
  readonly interactive: boolean;
  /** Human text on stdout may be coloured. */
  readonly colour: boolean;
}
