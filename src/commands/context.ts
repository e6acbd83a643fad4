import { type Client, createClient } from "../client/client.ts";
import type { Server } from "../client/transport.ts";
import type { Api } from "../contract/api.ts";
import { type Discovery, findServer, type Whereabouts } from "./discover.ts";
import { jsonText } from "./json-text.ts";
import { type Paint, paintFor, wantsColour } from "./paint.ts";
import type { CommandIo } from "./serve-options.ts";
import { plainLine } from "./terminal.ts";
import { version } from "./version.ts";

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
  /** Aborts at the first Ctrl-C or SIGTERM, which from then on no longer end the process. */
  interrupted(): AbortSignal;
}

/** How a command declares what it does; the number is the exit code. */
export type Run = (work: (context: CommandContext) => Promise<number>) => Promise<void>;

type Streams = Pick<NodeJS.Process, "stdin" | "stdout" | "stderr">;

export function createContext(options: GlobalOptions, streams: Streams): CommandContext {
  const io = commandIo(options, streams);
  const where = { url: options.url, dataDir: options.dataDir, env: io.env, cwd: io.cwd };
  const note = (text: string) => {
    if (!io.quiet && !io.json) io.stderr.write(`${plainLine(text)}\n`);
  };
  const discovery = memo(async () => {
    const found = await findServer(where, `symphony-cli/${version()}`);
    if (found.remark !== null) note(`${found.remark}; trying ${found.server.baseUrl}`);
    return found;
  });
  const server = async () => (await discovery()).server;
  return Object.assign(io, {
    where,
    // A terminal of unknown size says 0.
    width: io.stdout.isTTY ? io.stdout.columns || 80 : null,
    discovery,
    server,
    client: memo(async () => createClient(await server())),
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
    // Node builds the stream when it is first asked for, and most commands never do.
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

function interruption(): AbortSignal {
  const controller = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => controller.abort());
  }
  return controller.signal;
}
