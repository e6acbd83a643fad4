import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Command } from "commander";
import { open, parseObject, refusal, type Server } from "../client/client.ts";
import { paths } from "../contract/paths.ts";
import { SymphonyError } from "../core/model/errors.ts";
import { needsRestart } from "../core/model/event.ts";
import type { CommandContext, Run } from "./context.ts";
import { closest, exitCodes } from "./failure.ts";
import { examples } from "./help.ts";
import { openEditor, textOrStdin } from "./input.ts";
import { jsonText, plain, tableLines } from "./output.ts";

const overlayPath = ["<path>", "dotted path, such as agent.max_turns"] as const;

export function declareConfig(command: Command, run: Run): void {
  examples(
    command,
    "symphony config get agent.max_turns",
    "symphony config get --origin",
    "symphony config overlay set agent.max_turns 5",
  );
  examples(
    command.command("get").description("print the configuration in force, or one part of it"),
    "symphony config get",
    "symphony config get agent.max_turns",
    "symphony config get codex --origin",
  )
    .argument("[path]", "dotted path; left out: everything")
    .option("--origin", "say where each value comes from")
    .action((path: string | undefined, options: { readonly origin?: boolean }) =>
      run((context) => getConfig({ path: path ?? null, ...options }, context)),
    );
  examples(
    command.command("schema").description("print the configuration's JSON Schema"),
    "symphony config schema > symphony.schema.json",
  ).action(() => run(printSchema));
  examples(
    command.command("path").description("print where the workflow file is"),
    "symphony config path",
    '"$EDITOR" "$(symphony config path)"',
  ).action(() => run(configPath));
  const overlay = command
    .command("overlay")
    .description("look at the overlay and change it; a change is in force at once");
  declareOverlay(overlay, run);
  declareWholeOverlay(overlay, run);
}

function declareOverlay(overlay: Command, run: Run): void {
  examples(
    overlay,
    "symphony config overlay set agent.max_turns 5",
    "symphony config overlay unset agent.max_turns",
    "symphony config overlay get",
  );
  examples(
    overlay.command("get").description("print the overlay, or one part of it"),
    "symphony config overlay get > overlay.json",
  )
    .argument("[path]", "dotted path; left out: everything")
    .action((path: string | undefined) => run((context) => getOverlay(path ?? null, context)));
  examples(
    overlay.command("set").description("put one value on top of the workflow file"),
    "symphony config overlay set agent.max_turns 5",
    "symphony config overlay set codex.model gpt-5-codex",
    `symphony config overlay set tracker.required_labels '["agent"]'`,
  )
    .argument(...overlayPath)
    .argument("<value>", "a number, true, false, null, JSON; anything else is text")
    .action((path: string, value: string) => run((context) => setInOverlay(path, value, context)));
  examples(
    overlay.command("unset").description("take one value out of the overlay"),
    "symphony config overlay unset agent.max_turns",
  )
    .argument(...overlayPath)
    .action((path: string) => run((context) => unsetInOverlay(path, context)));
}

function declareWholeOverlay(overlay: Command, run: Run): void {
  examples(
    overlay.command("replace").description("replace the whole overlay"),
    "symphony config overlay replace overlay.json",
    "symphony config overlay get | jq '.agent.max_turns = 5' | symphony config overlay replace -",
    "echo '{}' | symphony config overlay replace - --force",
  )
    .argument("<file>", "a JSON object; - reads it from stdin")
    .option("--force", "also over a change that somebody else makes meanwhile")
    .action((file: string, { force }: { readonly force?: boolean }) =>
      run((context) => replaceOverlay(file, force === true, context)),
    );
  examples(
    overlay.command("edit").description("edit the overlay in $VISUAL or $EDITOR"),
    "symphony config overlay edit",
  ).action(() => run(editOverlay));
}

export type Overlay = Readonly<Record<string, unknown>>;

/** An overlay and the tag by which the server tells whether it is still that one. */
export interface Tagged {
  readonly overlay: Overlay;
  readonly etag: string;
}

/** How often a change is made anew because somebody else was quicker. */
const maxTries = 20;

export async function getOverlay(path: string | null, context: CommandContext): Promise<number> {
  const { overlay } = await readOverlay(await context.server());
  const value = path === null ? overlay : valueAt(overlay, path);
  if (value === undefined) {
    throw new SymphonyError("overlay_path_not_found", `The overlay says nothing about ${path}`, {
      hint: "symphony config get PATH shows what is in force",
    });
  }
  if (context.json || path === null) context.printJson(value);
  else context.print(valueText(value));
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
      if (!lost || tries === maxTries) throw error;
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

/**
 * Opens the overlay in the operator's editor and stores what comes out of it. When that is refused, or somebody else has
 * changed the overlay meanwhile, nothing is stored and the edited file stays for a second try.
 */
export async function editOverlay(context: CommandContext): Promise<number> {
  const editor = context.env["VISUAL"] || context.env["EDITOR"];
  if (!editor) {
    throw new SymphonyError("usage", "No editor is set", {
      hint: "EDITOR=vi symphony config overlay edit, or symphony config overlay set PATH VALUE",
    });
  }
  const server = await context.server();
  const { overlay, etag } = await readOverlay(server);
  const dir = mkdtempSync(join(tmpdir(), "symphony-overlay-"));
  const file = join(dir, "overlay.json");
  const before = `${jsonText(overlay)}\n`;
  writeFileSync(file, before, { mode: 0o600 });
  await openEditor(editor, file, "symphony config overlay set PATH VALUE");
  const after = readFileSync(file, "utf8");
  if (after === before) {
    context.note("Nothing was changed");
  } else {
    try {
      const stored = await writeOverlay(server, { overlay: overlayIn(after), etag });
      if (context.json) context.printJson(stored.overlay);
      context.note("The overlay is replaced");
    } catch (error) {
      throw keeping(error, file);
    }
  }
  rmSync(dir, { recursive: true });
  return exitCodes.done;
}

function keeping(error: unknown, file: string): unknown {
  if (!(error instanceof SymphonyError)) return error;
  const { code, message, details } = error;
  const hint = `what you wrote is in ${file}; look at it and use symphony config overlay replace ${file}`;
  return new SymphonyError(code, message, { cause: error, details, hint });
}

interface Wish {
  /** null: everything. */
  readonly path: string | null;
  readonly origin?: boolean;
}

/** Prints what is in force: one value as it is, more than one as a table of dotted paths. */
export async function getConfig({ path, origin }: Wish, context: CommandContext): Promise<number> {
  const client = await context.client();
  const { config, origins } = await client.config.show();
  const value = path === null ? config : valueAt(config, path);
  const below = Object.entries(origins).filter(([key]) => isWithin(key, path));
  if (value === undefined) throw unknownPath(path ?? "", Object.keys(origins));
  if (context.json) {
    context.printJson(origin ? { value, origins: Object.fromEntries(below) } : value);
    return exitCodes.done;
  }
  if (!origin && below.length <= 1 && below[0]?.[0] === path) {
    context.print(valueText(value));
    return exitCodes.done;
  }
  const rows = below.map(([key, from]) => [
    key,
    jsonText(valueAt(config, key), 0),
    ...(origin ? [from] : []),
  ]);
  const columns = [
    { title: "KEY" },
    { title: "VALUE", flexible: true },
    ...(origin ? [{ title: "ORIGIN" }] : []),
  ];
  const paint = await context.paint();
  context.print(tableLines({ columns, rows, width: context.width, paint }).join("\n"));
  return exitCodes.done;
}

export async function printSchema(context: CommandContext): Promise<number> {
  const client = await context.client();
  context.printJson(await client.config.schema());
  return exitCodes.done;
}

export async function configPath(context: CommandContext): Promise<number> {
  const client = await context.client();
  const { workflow_path: path } = await client.system.runtime();
  if (context.json) context.printJson({ workflow_path: path });
  else context.print(plain(path));
  return exitCodes.done;
}

/** Text without quotes, for a script; anything else as JSON. */
export function valueText(value: unknown): string {
  return typeof value === "string" ? plain(value) : jsonText(value);
}

/** What stands at a dotted path, whose keys may hold dots themselves; undefined when nothing does. */
export function valueAt(values: unknown, path: string): unknown {
  if (typeof values !== "object" || values === null || Array.isArray(values)) return undefined;
  for (const [key, value] of Object.entries(values)) {
    if (key === path) return value;
    const found = path.startsWith(`${key}.`)
      ? valueAt(value, path.slice(key.length + 1))
      : undefined;
    if (found !== undefined) return found;
  }
  return undefined;
}

export function unknownPath(path: string, known: readonly string[]): SymphonyError {
  const sections = known.map((key) => key.slice(0, Math.max(key.lastIndexOf("."), 0)));
  const meant = closest(
    path,
    [...new Set([...known, ...sections])].filter((key) => key !== ""),
  );
  return new SymphonyError("not_found", `There is no ${path}`, {
    hint: meant === null ? "symphony config get lists every key" : `did you mean ${meant}?`,
  });
}

function isWithin(key: string, path: string | null): boolean {
  return path === null || key === path || key.startsWith(`${path}.`);
}
