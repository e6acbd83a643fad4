import { readFile, stat } from "node:fs/promises";
import { parseDocument, type YAMLError } from "yaml";
import { messageOf, SymphonyError, systemCodeOf } from "../model/errors.ts";

/** A workflow file as written: only its form is checked. */
export interface Workflow {
  readonly path: string;
  /** The front matter's root map; `{}` without one. */
  readonly config: Readonly<Record<string, unknown>>;
  /** The text after the front matter, trimmed, with LF line ends. */
  readonly promptTemplate: string;
}

const fence = "---";
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

/** Splits the file's content; throws like `loadWorkflow`. `path` is used only in messages. */
export function parseWorkflow(content: Uint8Array, path: string): Workflow {
  const lines = decode(content, path).split(/\r?\n/);
  if (lines[0] !== fence) return { path, config: {}, promptTemplate: lines.join("\n").trim() };
  const end = lines.indexOf(fence, 1);
  const frontMatter = end === -1 ? lines.slice(1) : lines.slice(1, end);
  const prompt = end === -1 ? [] : lines.slice(end + 1);
  return {
    path,
    config: parseFrontMatter(frontMatter.join("\n"), path),
    promptTemplate: prompt.join("\n").trim(),
  };
}

function decode(content: Uint8Array, path: string): string {
  try {
    // The decoder also drops a leading byte order mark.
    return new TextDecoder("utf-8", { fatal: true }).decode(content);
  } catch (cause) {
    throw unreadable(path, "the file is not UTF-8 text", { cause });
  }
}

function parseFrontMatter(text: string, path: string): Record<string, unknown> {
  const document = parseDocument(text, { prettyErrors: false, stringKeys: true });
  // A warning is an unknown tag, whose value would be read as plain text.
  const fault = document.errors[0] ?? document.warnings[0];
  if (fault) throw syntaxFault(fault, text, path);
  const value = toTree(() => document.toJS({ maxAliasCount: 100 }), path);
  if (value === null) return {};
  if (isMap(value)) return value;
  const kind = Array.isArray(value) ? "a list" : "a single value";
  throw new SymphonyError(
    "workflow_front_matter_not_a_map",
    `${path}: the front matter is ${kind}, not a map of keys`,
    { details: { path } },
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

function syntaxFault(fault: YAMLError, text: string, path: string): SymphonyError {
  const before = text.slice(0, fault.pos[0]).split("\n");
  // The front matter begins on line 2 of the file.
  const line = before.length + 1;
  const column = (before.at(-1)?.length ?? 0) + 1;
  return unreadable(path, `line ${line}, column ${column}: ${messageOf(fault)}`, {
    cause: fault,
    details: { line, column },
  });
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
