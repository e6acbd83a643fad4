// What the check of a workflow file finds, with the place of each finding and the next command.

import { z } from "zod";
import { type ErrorCode, SymphonyError } from "../model/errors.ts";
import type { Place } from "./places.ts";

/** One thing that a check of a configuration found. */
export interface Finding {
  /** An error stops the start; on a reload the last valid file stays in force. */
  readonly severity: "error" | "warning";
  readonly code: ErrorCode;
  /** The dotted key, `prompt`, or empty for the file as a whole. */
  readonly path: string;
  /** A sentence that names the key. */
  readonly message: string;
  /** In the file; null for a value that is not from a file. */
  readonly place: Place | null;
  /** The file of the place where it is not the workflow file itself: one that it is based on, or a prompt. */
  readonly otherFile: string | null;
  /** The source of a value that is not from a file, such as `SYMPHONY_AGENT__MAX_TURNS` or `the overlay`. */
  readonly source: string | null;
  /** What was read, as it is written; null for a credential, and where nothing was. */
  readonly read: string | null;
  /** What would be accepted; null where the message says it. */
  readonly allowed: readonly string[] | null;
  /** The next command, or what to write instead. */
  readonly next: string | null;
  /** Further facts, for a machine. */
  readonly details: SymphonyError["details"];
}

/** A finding before its place is known. */
export interface Problem {
  readonly path: string;
  readonly message: string;
  /** The message continues its key, as in `must be a list`; default: it is a sentence. */
  readonly isRule?: boolean;
  /** Default: error. */
  readonly severity?: Finding["severity"];
  /** Default: `invalid_config`. */
  readonly code?: ErrorCode;
  readonly allowed?: readonly string[];
  readonly next?: string | null;
  /** Facts of the error that reported it. */
  readonly details?: SymphonyError["details"];
  /** A position within the prompt, or within the text at `path`; both 1-based. */
  readonly within?: { readonly line: number; readonly column: number | null };
  /** The key itself is what is wrong, not its value. */
  readonly isKey?: boolean;
}

/** The message with its key. */
export function sentenceOf({ path, message, isRule = false }: Problem): string {
  return isRule ? `${path} ${message}`.trim() : message;
}

/** `line 4, column 9`, with the file where it is another one; the variable, or nothing. */
function placeText({
  place,
  otherFile,
  source,
}: Pick<Finding, "place" | "otherFile" | "source">): string | null {
  if (place === null) return source;
  const file = otherFile === null ? "" : `${otherFile} `;
  return `${file}line ${place.line}, column ${place.column}`;
}

/** One line for a person or a log. */
export function findingText(finding: Finding): string {
  const where = placeText(finding);
  return where === null ? finding.message : `${finding.message} (${where})`;
}

/** The same of a fault that stops no start: the next command belongs to it, because no error says it. */
export function reportText(finding: Finding): string {
  const { severity, next } = finding;
  const text = findingText(finding);
  return severity === "error" && next !== null ? `${text}; ${next}` : text;
}

/** The problems that an error of another part reports: one, or each in `details.problems`. */
export function problemsOf(error: SymphonyError): readonly Problem[] {
  const { code, message, hint, details } = error;
  const { problems, path, line, column } = details;
  if (Array.isArray(problems)) {
    const isRule = code === "invalid_config";
    return problems.map((one) => ({ code, isRule, next: hint, ...one }));
  }
  const within =
    typeof line === "number"
      ? { within: { line, column: typeof column === "number" ? column : null } }
      : {};
  const at = typeof path === "string" ? path : "";
  return [{ code, path: at, message, next: hint, details, ...within }];
}

/** The findings of a file that is not YAML, or not text: `problems` of its error have their place. */
export function parseFindings(error: SymphonyError, file: string): readonly Finding[] {
  const { code, message, hint, details } = error;
  const { problems, line, column, path } = details;
  // It may be a file that this one is based on.
  const at = typeof path === "string" ? path : file;
  const all: readonly unknown[] = Array.isArray(problems) ? problems : [{ message, line, column }];
  return all.map((one): Finding => {
    const found = z.object({ message: z.string(), line: z.int(), column: z.int() }).safeParse(one);
    return {
      ...{ severity: "error", code, path: "", source: null, read: null, allowed: null },
      message: found.success && all.length > 1 ? found.data.message : message,
      place: found.success ? { file: at, line: found.data.line, column: found.data.column } : null,
      otherFile: at === file ? null : at,
      ...{ next: hint, details: {} },
    };
  });
}

/** The error that refuses a file: with one fault its code, with several `invalid_config`. */
export function refusal(findings: readonly Finding[], file: string): SymphonyError {
  const faults = findings.filter(({ severity }) => severity === "error");
  // A mistyped name may be why another key is missing.
  const warnings = findings.filter((one) => !faults.includes(one)).map(findingText);
  const codes = new Set(faults.map(({ code }) => code));
  const [only] = codes;
  const code = codes.size === 1 && only !== undefined ? only : "invalid_config";
  const list = faults.map(findingText).join("; ");
  const [first] = faults;
  const own = faults.length === 1 ? (first?.next ?? null) : null;
  const place = faults.length === 1 ? first?.place : null;
  return new SymphonyError(code, `the configuration cannot be used: ${list}`, {
    details: {
      ...(faults.length === 1 && { ...first?.details, path: first?.path }),
      ...(place && { line: place.line, column: place.column }),
      problems: faults.map(shownProblem),
      ...(warnings.length > 0 && { warnings }),
    },
    hint: own ?? `correct it, then: symphony config check ${file}`,
  });
}

/** A fault in the details of an error. */
function shownProblem({ path, message, place, otherFile, source, read, allowed, next }: Finding) {
  const where = place && { line: place.line, column: place.column };
  return {
    path,
    message,
    ...where,
    ...(otherFile !== null && { file: otherFile }),
    ...(source !== null && { source }),
    ...(read !== null && { read }),
    ...(allowed !== null && { allowed }),
    ...(next !== null && { next }),
  };
}
