import { readFile, stat } from "node:fs/promises";
import { LineCounter, parseDocument, type YAMLError } from "yaml";
import { messageOf, SymphonyError, systemCodeOf } from "../model/errors.ts";
import { noPlaces, Places } from "./places.ts";

/** A workflow file as written: only its form is checked. */
export interface Workflow {
  readonly path: string;
  /** The front matter's root map; `{}` without one. */
  readonly config: Readonly<Record<string, unknown>>;
  /** The text after the front matter, trimmed, with LF line ends. */
  readonly promptTemplate: string;
  /** Where each key is in the file. */
  readonly places: Places;
  /** Where the prompt begins in the file, both 1-based. */
  readonly promptAt: { readonly line: number; readonly column: number };
}

/** Blanks after it are not seen in an editor, so they do not count. */
const fence = /^---[ \t]*$/;
const maxFileBytes = 1024 * 1024;
const maxDepth = 50;

/**
 * Reads and splits the workflow file. Rejects with `missing_workflow_file`, `workflow_parse_error` or
 * `workflow_front_matter_not_a_map`; there is no default prompt.
 */
export async function loadWorkflow(path: string): Promise<Workflow> {
  return parseWorkflow(await readWorkflow(path), path);
}

/** The file's bytes. Rejects with `missing_workflow_file`, with the system's reason in `details`. */
export async function readWorkflow(path: string): Promise<Uint8Array> {
  const found = await stat(path).catch((cause: unknown) => {
    throw missing(path, { reason: reasonOf(cause), cause });
  });
  // Opening a pipe would wait for a writer indefinitely.
  if (!found.isFile()) {
    throw missing(path, { reason: found.isDirectory() ? "EISDIR" : "not a regular file" });
  }
  if (found.size > maxFileBytes) throw missing(path, { reason: "larger than 1 MiB" });
  return readFile(path).catch((cause: unknown) => {
    throw missing(path, { reason: reasonOf(cause), cause });
  });
}

/**
 * Splits the file's content; throws like `loadWorkflow`. `path` is used only in messages. Blank lines before the first
 * `---` do not count.
 */
export function parseWorkflow(content: Uint8Array, path: string): Workflow {
  const lines = decode(content, path).split(/\r?\n/);
  const first = lines.findIndex((line) => line.trim() !== "");
  if (!fence.test(lines[first] ?? "")) {
    return { path, config: {}, places: noPlaces, ...promptIn(lines, 0) };
  }
  const end = lines.findIndex((line, at) => at > first && fence.test(line));
  const text = lines.slice(first + 1, end === -1 ? undefined : end).join("\n");
  const at: Settings = { text, path, linesBefore: first + 1, isClosed: end !== -1 };
  return { path, ...parseFrontMatter(at), ...promptIn(lines, end === -1 ? lines.length : end + 1) };
}

/** A file that holds nothing but a prompt. Throws `workflow_parse_error`. */
export function parsePrompt(
  content: Uint8Array,
  path: string,
): Pick<Workflow, "promptTemplate" | "promptAt"> {
  return promptIn(decode(content, path).split(/\r?\n/), 0);
}

/** The parts of a file, which together are its text; without settings all of it is `after`. */
export interface FileParts {
  /** Up to the opening fence, with its line end. */
  readonly before: string;
  /** Between the fences. */
  readonly settings: string;
  readonly after: string;
  readonly lineEnd: "\n" | "\r\n";
}

/** Throws like `loadWorkflow` for a file that is not text. */
export function fencesIn(content: Uint8Array, path: string): FileParts {
  const text = decode(content, path);
  const lineEnd = text.includes("\r\n") ? "\r\n" : "\n";
  const lines = text.split(/(?<=\n)/);
  const isFence = (line: string) => fence.test(line.replace(/\r?\n$/, ""));
  const first = lines.findIndex((line) => line.trim() !== "");
  if (!isFence(lines[first] ?? "")) return { before: "", settings: "", after: text, lineEnd };
  const found = lines.findIndex((line, at) => at > first && isFence(line));
  const end = found === -1 ? lines.length : found;
  return {
    before: lines.slice(0, first + 1).join(""),
    settings: lines.slice(first + 1, end).join(""),
    after: lines.slice(end).join(""),
    lineEnd,
  };
}

function promptIn(lines: readonly string[], from: number) {
  const promptTemplate = lines.slice(from).join("\n").trim();
  const at = lines.findIndex((line, index) => index >= from && line.trim() !== "");
  const indent = /^\s*/.exec(lines[at] ?? "")?.[0].length ?? 0;
  return { promptTemplate, promptAt: { line: Math.max(at, from) + 1, column: indent + 1 } };
}

function decode(content: Uint8Array, path: string): string {
  try {
    // The decoder also drops a leading byte order mark.
    return new TextDecoder("utf-8", { fatal: true }).decode(content);
  } catch (cause) {
    throw unreadable(path, "the file is not UTF-8 text", { cause });
  }
}

/** The text between the fences. */
interface Settings {
  readonly text: string;
  readonly path: string;
  /** Lines of the file before it. */
  readonly linesBefore: number;
  /** Whether there is a closing fence. */
  readonly isClosed: boolean;
}

function parseFrontMatter(settings: Settings): Pick<Workflow, "config" | "places"> {
  const { text, path: file, linesBefore } = settings;
  const lines = new LineCounter();
  const document = parseDocument(text, {
    prettyErrors: false,
    stringKeys: true,
    merge: true,
    lineCounter: lines,
  });
  // A warning is an unknown tag, whose value would be read as plain text.
  const faults = [...document.errors, ...document.warnings];
  if (faults.length > 0) throw syntaxFault(faults, lines, settings);
  const value = toTree(() => document.toJS({ maxAliasCount: 100 }), file);
  const places = new Places({ document, text, lines, file, linesBefore });
  if (value === null) return { config: {}, places };
  if (isMap(value)) return { config: value, places };
  const kind = Array.isArray(value) ? "a list" : "a single value";
  const open = settings.isClosed ? "" : `; ${unclosed(settings)}`;
  throw new SymphonyError(
    "workflow_front_matter_not_a_map",
    `${file}: the front matter is ${kind}, not a map of keys${open}`,
    { details: { path: file } },
  );
}

/** Aliases may make a document circular, or huge once they are resolved. */
function toTree(resolve: () => unknown, path: string): unknown {
  try {
    const value = resolve() ?? null;
    requireDepth(value, maxDepth);
    return value;
  } catch (cause) {
    throw unreadable(path, messageOf(cause), { cause });
  }
}

function requireDepth(value: unknown, left: number): void {
  if (typeof value !== "object" || value === null) return;
  if (left === 0) throw new Error("the front matter is nested too deeply or refers to itself");
  for (const child of Object.values(value)) requireDepth(child, left - 1);
}

/** Faults of one text often follow from its first. */
const maxFaults = 5;

function syntaxFault(
  faults: readonly YAMLError[],
  lines: LineCounter,
  settings: Settings,
): SymphonyError {
  const { text, path, linesBefore } = settings;
  const problems = faults.slice(0, maxFaults).map((fault) => {
    const { line, col: column } = lines.linePos(fault.pos[0]);
    return { path: "", message: faultText(fault, text), line: line + linesBefore, column };
  });
  const list = problems.map(
    ({ line, column, message }) => `line ${line}, column ${column}: ${message}`,
  );
  const [cause] = faults;
  const [{ line, column } = { line: 1, column: 1 }] = problems;
  const what = settings.isClosed ? list : [unclosed(settings), ...list.slice(0, 1)];
  return unreadable(path, what.join("; "), { cause, details: { line, column, problems } });
}

/** The library's words, but for those that speak to a programmer. */
function faultText(fault: YAMLError, text: string): string {
  if (fault.code === "DUPLICATE_KEY") {
    const [key = "that begins"] = /^[^\s:,{}]{1,60}/.exec(text.slice(fault.pos[0])) ?? [];
    return `the key ${key} stands here a second time`;
  }
  if (fault.code !== "MULTIPLE_DOCS") return messageOf(fault);
  return "a second YAML document begins here; the settings are one, between two lines ---";
}

/** Without its second fence, a prompt is read as settings. */
function unclosed({ linesBefore }: Settings): string {
  return `the settings begin at the --- in line ${linesBefore}, and no later line is --- to end them, so all that follows was read as settings`;
}

function unreadable(
  path: string,
  what: string,
  { cause, details = {} }: { cause: unknown; details?: Readonly<Record<string, unknown>> },
): SymphonyError {
  return new SymphonyError("workflow_parse_error", `${path}: ${what}`, {
    cause,
    details: { path, ...details },
  });
}

function missing(path: string, { reason, cause }: { reason: string; cause?: unknown }) {
  return new SymphonyError("missing_workflow_file", `cannot read ${path}: ${reason}`, {
    cause,
    details: { path, reason },
    hint: "symphony init writes a WORKFLOW.md; symphony serve PATH names another one",
  });
}

function reasonOf(error: unknown): string {
  const code = systemCodeOf(error);
  return typeof code === "string" ? code : messageOf(error);
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
