import { open, parseObject, refusal, type Server } from "../client/transport.ts";
import { paths } from "../contract/paths.ts";
import { SymphonyError } from "../core/model/errors.ts";
import { needsRestart } from "../core/model/restart.ts";
import { textOf, valueAt } from "./config-show.ts";
import type { CommandContext } from "./context.ts";
import { exitCodes } from "./exit-codes.ts";
import { textOrStdin } from "./text-input.ts";

export type Overlay = Readonly<Record<string, unknown>>;

/** An overlay and the tag by which the server tells whether it is still that one. */
export interface Tagged {
  readonly overlay: Overlay;
  readonly etag: string;
}

/** How often a change is made anew because somebody else was quicker. */
const mostTries = 20;

export async function getOverlay(path: string | null, context: CommandContext): Promise<number> {
  const { overlay } = await readOverlay(await context.server());
  const value = path === null ? overlay : valueAt(overlay, path);
  if (value === undefined) {
    throw new SymphonyError("overlay_path_not_found", `The overlay says nothing about ${path}`, {
      hint: "symphony config get PATH shows what is in force",
    });
  }
  if (context.json || path === null) context.printJson(value);
  else context.print(textOf(value));
  return exitCodes.done;
}

/** Sets one value; what another operator changes at the same time stays. */
export async function setInOverlay(
  path: string,
  text: string,
  context: CommandContext,
): Promise<number> {
  const keys = path.split(".");
  if (keys.some((key) => key.trim() === "")) {
    throw new SymphonyError("usage", `"${path}" is not a dotted path`, {
      hint: "symphony config overlay set agent.max_turns 5",
    });
  }
  const stored = await changed(await context.server(), (overlay) =>
    withValue(overlay, keys, readValue(text)),
  );
  if (context.json) context.printJson(stored);
  const when = needsRestart.includes(path) ? "; it takes effect at the next start" : "";
  context.note(`${path} is ${text} now${when}`);
  return exitCodes.done;
}

export async function unsetInOverlay(path: string, context: CommandContext): Promise<number> {
  const client = await context.client();
  await client.config.removeFromOverlay({ params: { path } });
  if (context.json) context.printJson({ path, removed: true });
  context.note(`${path} is out of the overlay`);
  return exitCodes.done;
}

/** Refused with `overlay_changed` when somebody changes the overlay while the new one is read, unless forced. */
export async function replaceOverlay(
  file: string,
  force: boolean,
  context: CommandContext,
): Promise<number> {
  const server = await context.server();
  // Before the input: `get | jq … | replace -` reads the same overlay at the other end of the pipe.
  const etag = force ? "*" : (await readOverlay(server)).etag;
  const text = file === "-" ? await textOrStdin("-", context) : readText(file, context);
  const stored = (await writeOverlay(server, { overlay: overlayIn(text), etag })).overlay;
  if (context.json) context.printJson(stored);
  context.note("The overlay is replaced");
  return exitCodes.done;
}

/** The overlay as it is on the server. */
export async function readOverlay(server: Server): Promise<Tagged> {
  return exchange(server, { ...paths.config.overlay });
}

/** Stores `overlay` unless the server's is no longer the one of `etag`: rejects with `overlay_changed`. */
export function writeOverlay(server: Server, { overlay, etag }: Tagged): Promise<Tagged> {
  return exchange(server, {
    ...paths.config.replaceOverlay,
    headers: { "content-type": "application/json", "if-match": etag },
    body: JSON.stringify(overlay),
  });
}

/** Reads JSON that must be an object. Throws `usage`. */
export function overlayIn(text: string): Overlay {
  const value = parsed(text);
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Overlay;
  throw new SymphonyError("usage", "an overlay is one JSON object", {
    hint: `as in {"agent": {"max_turns": 5}}; symphony config overlay get prints one`,
  });
}

async function changed(server: Server, change: (overlay: Overlay) => Overlay): Promise<Overlay> {
  for (let tries = 1; ; tries += 1) {
    const { overlay, etag } = await readOverlay(server);
    try {
      return (await writeOverlay(server, { overlay: change(overlay), etag })).overlay;
    } catch (error) {
      const lost = error instanceof SymphonyError && error.code === "overlay_changed";
      if (!lost || tries === mostTries) throw error;
    }
  }
}

/** The typed client gives no headers, and the tag is one. */
async function exchange(server: Server, request: Parameters<typeof open>[1]): Promise<Tagged> {
  const response = await open(server, request);
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  const text = Buffer.concat(chunks).toString("utf8");
  const { statusCode: status = 0, headers } = response;
  if (status >= 400) throw refusal(server, status, text);
  const contentType = headers["content-type"] ?? "";
  return { overlay: parseObject(server, { status, contentType, text }), etag: headers.etag ?? "*" };
}

function withValue(
  overlay: Overlay,
  [key = "", ...rest]: readonly string[],
  value: unknown,
): Overlay {
  const below = Object.hasOwn(overlay, key) ? overlay[key] : undefined;
  const isMap = typeof below === "object" && below !== null && !Array.isArray(below);
  const child = rest.length === 0 ? value : withValue(isMap ? (below as Overlay) : {}, rest, value);
  // Unlike an assignment, this keeps a key such as `__proto__` as a key, for the server to refuse.
  return Object.fromEntries([...Object.entries(overlay), [key, child]]);
}

/** A number counts as one only when it is written as one is: `79254e12` may be somebody's project. */
function readValue(text: string): unknown {
  const value = parsed(text);
  const changed = typeof value === "number" && String(value) !== text;
  return value === undefined || changed ? text : value;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function readText(file: string, { cwd }: CommandContext): string {
  const { readFileSync } = process.getBuiltinModule("node:fs");
  const { resolve } = process.getBuiltinModule("node:path");
  try {
    return readFileSync(resolve(cwd, file), "utf8");
  } catch (cause) {
    throw new SymphonyError("usage", `${file} cannot be read`, { cause });
  }
}
