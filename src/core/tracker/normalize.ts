import {
  type Blocker,
  type CommentList,
  type Issue,
  type IssueComment,
  type IssueLink,
  type Person,
  type Project,
  type Team,
  withholders,
} from "../model/issue.ts";
import { displayText, oneLine } from "../text/text.ts";

/** An issue as read from a tracker, with unchecked values. */
export type IssueFields = { readonly [Field in keyof Issue]: unknown };

/**
 * The normalized issue, or null when `id`, `identifier`, `title`, `state` or an explicit `dispatchable` is
 * missing (requirements N-2, N-8, T-6). Every other unusable value becomes null or is omitted (N-7).
 */
export function normalizeIssue(fields: IssueFields): Issue | null {
  const id = textOf(fields.id);
  const identifier = textOf(fields.identifier);
  const title = textOf(fields.title);
  const state = textOf(fields.state);
  const { dispatchable } = fields;
  if (id === null || identifier === null || title === null || state === null) return null;
  if (typeof dispatchable !== "boolean") return null;
  return {
    id,
    nativeRef: nativeRefOf(fields.nativeRef),
    identifier,
    title,
    description: textOf(fields.description),
    priority: priorityOf(fields.priority),
    state,
    stateType: textOf(fields.stateType)?.trim().toLowerCase() ?? null,
    branchName: textOf(fields.branchName),
    url: textOf(fields.url),
    assigneeId: textOf(fields.assigneeId),
    assignee: personOf(fields.assignee),
    team: teamOf(fields.team),
    project: projectOf(fields.project),
    parent: linkOf(fields.parent),
    subIssues: listOf(fields.subIssues).slice(0, maxSubIssues).flatMap(asLinks),
    labels: labelsOf(fields.labels),
    blockedBy: blockersOf(fields.blockedBy),
    dispatchable,
    withheld: textOf(fields.withheld),
    withheldBy: withholders.find((one) => one === fields.withheldBy) ?? null,
    createdAt: instantOf(fields.createdAt),
    updatedAt: instantOf(fields.updatedAt),
  };
}

/** A string with a character that is not white space, unchanged; everything else is null. */
export function textOf(value: unknown): string | null {
  return typeof value === "string" && value.trim() !== "" ? value : null;
}

/** Trimmed, lowercased, without blanks and duplicates (N-3). */
export function labelsOf(value: unknown): readonly string[] {
  const names = listOf(value).filter((name) => typeof name === "string");
  return [...new Set(names.map((name) => name.trim().normalize().toLowerCase()).filter(Boolean))];
}

/** Integers unchanged, also outside 1 to 4; everything else is null (N-4). */
export function priorityOf(value: unknown): number | null {
  return typeof value === "number" && Number.isInteger(value) ? value : null;
}

const rfc3339 = /^(\d{4})-(\d\d)-(\d\d)[Tt]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:?\d\d)$/;

/** Milliseconds since the epoch of an RFC 3339 instant with offset, also without its colon; everything else is null (N-5). */
export function instantOf(value: unknown): number | null {
  const parts = typeof value === "string" ? rfc3339.exec(value) : null;
  if (parts === null) return null;
  const [text, year, month, day] = parts;
  // Date.parse reads the 30th of February as the 2nd of March.
  if (Number(day) > new Date(Date.UTC(Number(year), Number(month), 0)).getUTCDate()) return null;
  const at = Date.parse(text.toUpperCase());
  return Number.isNaN(at) ? null : at;
}

/** Entries with at least a known id or identifier; unknown fields are null, never made up. */
export function blockersOf(value: unknown): readonly Blocker[] {
  return listOf(value).flatMap(asLinks);
}

/** Limit of `subIssues`. */
export const maxSubIssues = 10;

function asLinks(value: unknown): readonly IssueLink[] {
  const link = linkOf(value);
  return link === null ? [] : [link];
}

function linkOf(value: unknown): IssueLink | null {
  if (!isRecord(value)) return null;
  const id = textOf(value["id"]);
  const identifier = textOf(value["identifier"]);
  if (id === null && identifier === null) return null;
  const { title, state, url } = value;
  return { id, identifier, title: textOf(title), state: textOf(state), url: textOf(url) };
}

function personOf(value: unknown): Person | null {
  const id = isRecord(value) ? textOf(value["id"]) : null;
  return id === null || !isRecord(value) ? null : { id, name: textOf(value["name"]) };
}

function teamOf(value: unknown): Team | null {
  const known = personOf(value);
  return known === null || !isRecord(value) ? null : { ...known, key: textOf(value["key"]) };
}

function projectOf(value: unknown): Project | null {
  const known = personOf(value);
  return known === null || !isRecord(value) ? null : { ...known, slug: textOf(value["slug"]) };
}

/** Limit of the comments that are read of one issue. */
export const maxComments = 50;
/** Limit of the comments that are looked at for commands at once. */
export const maxNewComments = 500;
const maxCommentChars = 8_000;
const maxCommentsChars = 64_000;
const maxAuthorChars = 80;

/**
 * The newest of `rows`, which are oldest first, as plain text of limited size. The oldest are left out first.
 * `hasOlder`: the tracker has more than `rows`.
 */
export function commentList(rows: readonly IssueComment[], hasOlder: boolean): CommentList {
  const kept: IssueComment[] = [];
  let truncated = hasOlder;
  let chars = 0;
  for (const row of rows.toReversed()) {
    const body = displayText(row.body, maxCommentChars);
    chars += body.length;
    if (kept.length === maxComments || chars > maxCommentsChars) {
      truncated = true;
      break;
    }
    if (row.body.length > maxCommentChars) truncated = true;
    const { by, createdAt } = row;
    kept.push({ author: oneLine(row.author, maxAuthorChars), by, body, createdAt });
  }
  return { comments: kept.reverse(), truncated };
}

/** A plain object that survives JSON unchanged, kept unchanged; everything else is null (N-9). */
export function nativeRefOf(value: unknown): Readonly<Record<string, unknown>> | null {
  return isRecord(value) && isJsonSafe(value, deepestReference) ? value : null;
}

/** True for objects that are neither null nor arrays. */
export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The value of a field, as far as `value` has fields. */
export function field(value: unknown, name: string): unknown {
  return isRecord(value) ? value[name] : undefined;
}

/** The value when it is an array, else an empty one. */
export function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

/** Also ends the walk through an object that contains itself. */
const deepestReference = 20;

function isJsonSafe(value: unknown, depth: number): boolean {
  if (value === null || typeof value === "string" || typeof value === "boolean") return true;
  if (typeof value === "number") return Number.isFinite(value);
  if (typeof value !== "object" || depth === 0) return false;
  if (Array.isArray(value)) return value.every((entry) => isJsonSafe(entry, depth - 1));
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return false;
  return Object.values(value).every((entry) => isJsonSafe(entry, depth - 1));
}
