import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { open, parseObject, refusal, type Server, textOf, unversioned } from "../client/client.ts";
import { paths } from "../contract/paths.ts";
import { warningsHeader } from "../contract/route.ts";
import { SymphonyError, withHint } from "../core/model/errors.ts";
import { needsRestart } from "../core/model/event.ts";
import { isObject, objectOf, parseJson } from "../core/text/text.ts";
import type { CommandContext } from "./context.ts";
import { openEditor, textOfFile, textOrStdin } from "./input.ts";
import { jsonText, plain } from "./output.ts";
import { subcommand } from "./table.ts";

const pathArgument = { name: "path", summary: "dotted path, such as agent.max_turns" } as const;
export const partArgument = {
  name: "path",
  summary: "dotted path (default: everything)",
  optional: true,
} as const;

const overlayGet = subcommand({
  name: "get",
  summary: "print the overlay, or one part of it",
  examples: ["symphony config overlay get > overlay.json"],
  arguments: [partArgument],
  async call({ path }, context) {
    const { overlay } = await readOverlay(await context.server());
    const value = path === undefined ? overlay : valueAt(overlay, path);
    if (value !== undefined) return value;
    throw new SymphonyError("overlay_path_not_found", `The overlay has no value at ${path}`, {
      hint: "symphony config get PATH shows what is in force",
    });
  },
  print(value, context, { path }) {
    if (path === undefined) context.printJson(value);
    else context.print(valueText(value));
  },
});

/** Sets one value; keeps what another operator changes at the same time. */
const overlaySet = subcommand({
  name: "set",
  summary: "set one value on top of the workflow file",
  inputErrors: ["invalid_config"],
  examples: [
    "symphony config overlay set agent.max_turns 5",
    "symphony config overlay set codex.model gpt-5-codex",
    `symphony config overlay set tracker.required_labels '["agent"]'`,
  ],
  arguments: [
    pathArgument,
    { name: "value", summary: "a number, true, false, null, JSON; anything else is text" },
  ],
  async call({ path, value: text }, context) {
    const keys = path.split(".");
    if (keys.some((key) => key.trim() === "")) {
      throw new SymphonyError("usage", `"${path}" is not a dotted path`, {
        hint: "symphony config overlay set agent.max_turns 5",
      });
    }
    return changed(await context.server(), (overlay) => withValue(overlay, keys, readValue(text)));
  },
  document: ({ overlay }) => overlay,
  print({ warnings }, { note }, { path, value: text }) {
    const when = needsRestart.includes(path) ? "; it takes effect at the next start" : "";
    note(`${path} is ${text} now${when}; symphony config overlay unset ${path} takes it back`);
    for (const one of warnings) note(`warning: ${one}`);
  },
});

const overlayUnset = subcommand({
  name: "unset",
  summary: "remove one value from the overlay",
  inputErrors: ["invalid_config"],
  examples: ["symphony config overlay unset agent.max_turns"],
  arguments: [pathArgument],
  async call({ path }, context) {
    const client = await context.client();
    await client.config.removeFromOverlay({ params: { path } });
    return { path, removed: true };
  },
  print: ({ path }, { note }) =>
    note(`${path} is removed from the overlay; symphony config get ${path} shows what holds now`),
});

/** Rejects with `overlay_changed` when another client changes the overlay while the new one is read, unless forced. */
const overlayReplace = subcommand({
  name: "replace",
  summary: "replace the whole overlay",
  inputErrors: ["invalid_config"],
  examples: [
    "symphony config overlay replace overlay.json",
    "symphony config overlay get > overlay.json    then change it",
    "symphony config overlay replace overlay.json",
    "echo '{}' | symphony config overlay replace - --force",
  ],
  arguments: [
    { name: "file", summary: "a JSON object; - reads it from stdin", completion: "files" },
  ],
  options: [{ name: "force", summary: "overwrite a change that another client makes meanwhile" }],
  async call({ file, force }, context) {
    const server = await context.server();
    // Read before the input: in `get | jq … | replace -` the first command reads the same overlay.
    const etag = force ? "*" : (await readOverlay(server)).etag;
    const text =
      file === "-" ? await textOrStdin("-", context) : await textOfFile(file, context.cwd);
    return writeOverlay(server, { overlay: overlayIn(text), etag });
  },
  document: ({ overlay }) => overlay,
  print: printReplaced,
});

/**
 * Opens the overlay in the operator's editor and stores the result. When the server refuses it, or another client has
 * changed the overlay meanwhile, nothing is stored and the edited file is kept for a second try.
 */
const overlayEdit = subcommand({
  name: "edit",
  summary: "edit the overlay in $VISUAL or $EDITOR",
  inputErrors: ["invalid_config"],
  examples: ["symphony config overlay edit"],
  call: (_, context) => editOverlay(context),
  document: (stored) => stored?.overlay ?? null,
  print(stored, context) {
    if (stored === null) context.note("Nothing was changed");
    else printReplaced(stored, context);
  },
});

function printReplaced({ warnings }: Stored, { note }: CommandContext): void {
  note("The overlay is replaced; symphony config get --origin shows what holds now");
  for (const one of warnings) note(`warning: ${one}`);
}

/** Shows and changes the operator's overrides of the workflow file. */
export const overlayCommand = subcommand({
  name: "overlay",
  summary: "show and change the overlay; a change is in force at once",
  examples: [
    "symphony config overlay set agent.max_turns 5",
    "symphony config overlay unset agent.max_turns",
    "symphony config overlay get",
  ],
  commands: [overlayGet, overlaySet, overlayUnset, overlayReplace, overlayEdit],
});

type Overlay = Readonly<Record<string, unknown>>;

/** An overlay and its ETag, by which the server detects a change since it was read. */
interface Tagged {
  readonly overlay: Overlay;
  readonly etag: string;
}

/** An overlay that was written, and what it made doubtful. */
interface Stored extends Tagged {
  readonly warnings: readonly string[];
}

/** How often a change is tried when other clients keep changing the overlay first. */
const maxTries = 20;

/** The overlay as it is on the server. */
async function readOverlay(server: Server): Promise<Tagged> {
  return exchange(server, { ...paths.config.overlay });
}

/** Stores `overlay`. Rejects with `overlay_changed` when the server's overlay no longer has `etag`. */
function writeOverlay(server: Server, { overlay, etag }: Tagged): Promise<Stored> {
  return exchange(server, {
    ...paths.config.replaceOverlay,
    headers: { "content-type": "application/json", "if-match": etag },
    body: JSON.stringify(overlay),
  });
}

/** Reads JSON that must be an object. Throws `usage`. */
function overlayIn(text: string): Overlay {
  const value = parseJson(text);
  if (isObject(value)) return value;
  throw new SymphonyError("usage", "an overlay is one JSON object", {
    hint: `as in {"agent": {"max_turns": 5}}; symphony config overlay get prints one`,
  });
}

async function changed(server: Server, change: (overlay: Overlay) => Overlay): Promise<Stored> {
  for (let tries = 1; ; tries += 1) {
    const { overlay, etag } = await readOverlay(server);
    try {
      return await writeOverlay(server, { overlay: change(overlay), etag });
    } catch (error) {
      const lost = error instanceof SymphonyError && error.code === "overlay_changed";
      if (!lost || tries === maxTries) throw error;
    }
  }
}

/** The typed client does not return headers, and both the ETag and the warnings are some. */
async function exchange(server: Server, request: Parameters<typeof open>[1]): Promise<Stored> {
  const response = await open(server, request);
  const text = await textOf(server, request, response);
  const { statusCode: status = 0, headers } = response;
  if (status >= 400) throw refusal(server, status, text);
  const contentType = headers["content-type"] ?? "";
  const overlay = parseObject(server, { contentType, text });
  if (headers["symphony-version"] === undefined) throw unversioned(server);
  return {
    overlay,
    etag: headers.etag ?? "*",
    warnings: warningsIn(headers[warningsHeader.toLowerCase()]),
  };
}

function warningsIn(header: string | readonly string[] | undefined): readonly string[] {
  const written = typeof header === "string" ? parseJson(decodeURIComponent(header)) : [];
  return Array.isArray(written) ? written.filter((one) => typeof one === "string") : [];
}

function withValue(
  overlay: Overlay,
  [key = "", ...rest]: readonly string[],
  value: unknown,
): Overlay {
  const below = Object.hasOwn(overlay, key) ? overlay[key] : undefined;
  const child = rest.length === 0 ? value : withValue(objectOf(below), rest, value);
  // Unlike an assignment, this keeps a key such as `__proto__` as a key, for the server to refuse.
  return Object.fromEntries([...Object.entries(overlay), [key, child]]);
}

/** Only text that JavaScript would print the same way is a number: `79254e12` may be the name of a project. */
function readValue(text: string): unknown {
  const value = parseJson(text);
  const changed = typeof value === "number" && String(value) !== text;
  return value === undefined || changed ? text : value;
}

/** The overlay as stored; null when nothing was changed. */
async function editOverlay(context: CommandContext): Promise<Stored | null> {
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
  const stored =
    after === before
      ? null
      : await writeOverlay(server, { overlay: overlayIn(after), etag }).catch((error) => {
          throw keeping(error, file);
        });
  rmSync(dir, { recursive: true });
  return stored;
}

function keeping(error: unknown, file: string): unknown {
  if (!(error instanceof SymphonyError)) return error;
  const hint = `what you wrote is in ${file}; correct it and use symphony config overlay replace ${file}`;
  return withHint(error, hint);
}

/** Text without quotes, for a script; anything else as JSON. */
export function valueText(value: unknown): string {
  return typeof value === "string" ? plain(value) : jsonText(value);
}

/** The value at a dotted path, whose keys may contain dots; undefined when there is none. */
export function valueAt(values: unknown, path: string): unknown {
  if (!isObject(values)) return undefined;
  for (const [key, value] of Object.entries(values)) {
    if (key === path) return value;
    const found = path.startsWith(`${key}.`)
      ? valueAt(value, path.slice(key.length + 1))
      : undefined;
    if (found !== undefined) return found;
  }
  return undefined;
}
