import type { Issue, IssueComment, IssueLink } from "../model/issue.ts";
import { isObject } from "../text/text.ts";

/**
 * What a template can read of a value: `time` is a number of ms that templates see as RFC 3339, `data` is anything. A list
 * has the shape of its items, a map the shapes of its keys. A value of any shape may also be null.
 */
export type Shape = Leaf | readonly [Shape] | ShapeMap;
type Leaf = "text" | "number" | "flag" | "time" | "data";

export interface ShapeMap {
  readonly [name: string]: Shape;
}

/** The shape of every field of `T`: a field without one does not compile. */
type ShapesOf<T> = { readonly [Key in keyof T]-?: ShapeOf<NonNullable<T[Key]>> };

type ShapeOf<T> = T extends string
  ? "text"
  : T extends number
    ? "number" | "time"
    : T extends boolean
      ? "flag"
      : T extends readonly (infer Item)[]
        ? readonly [ShapeOf<NonNullable<Item>>]
        : string extends keyof T
          ? "data"
          : ShapesOf<T>;

const linkShape: ShapesOf<IssueLink> = {
  id: "text",
  identifier: "text",
  title: "text",
  state: "text",
  url: "text",
};

/** The fields of an issue that templates can use, by the names of the code. The one list of them. */
const issueShape: ShapesOf<Issue> = {
  id: "text",
  nativeRef: "data",
  identifier: "text",
  title: "text",
  description: "text",
  priority: "number",
  state: "text",
  stateType: "text",
  branchName: "text",
  url: "text",
  assigneeId: "text",
  assignee: { id: "text", name: "text" },
  team: { id: "text", key: "text", name: "text" },
  project: { id: "text", slug: "text", name: "text" },
  parent: linkShape,
  subIssues: [linkShape],
  labels: ["text"],
  blockedBy: [linkShape],
  dispatchable: "flag",
  withheld: "text",
  withheldBy: "text",
  createdAt: "time",
  updatedAt: "time",
};

const commentShape: ShapesOf<IssueComment> = {
  author: "text",
  by: "text",
  body: "text",
  createdAt: "time",
};

/** The variables of every prompt, by the names that templates use. */
export const promptVariables: ShapeMap = {
  issue: { ...written(issueShape), comments: [written(commentShape)] },
  attempt: "number",
};

/** The variables of the texts that leave symphony with finished work; comments are not read for them. */
export const deliveryVariables: ShapeMap = {
  issue: written(issueShape),
  attempt: "number",
  work: { summary: "text", branch: "text" },
};

/** The issue as templates see it: wire names as keys, times as RFC 3339, missing values as null. */
export function variablesOf(issue: Issue): Readonly<Record<string, unknown>> {
  return fieldsOf(issueShape, issue);
}

/** Comments as templates see them. */
export function commentVariables(comments: readonly IssueComment[]): readonly unknown[] {
  return comments.map((comment) => fieldsOf(commentShape, comment));
}

/** `over` lies over `under`: maps are merged at every depth, everything else is replaced. */
export function laidOver(under: unknown, over: unknown): unknown {
  if (!isObject(under) || !isObject(over)) return over;
  const merged = new Map(Object.entries(under));
  for (const [key, value] of Object.entries(over)) {
    merged.set(key, merged.has(key) ? laidOver(merged.get(key), value) : value);
  }
  return Object.fromEntries(merged);
}

function valueFor(shape: Shape, value: unknown): unknown {
  if (value === null || value === undefined) return null;
  if (shape === "time") return timeOf(Number(value));
  if (shape === "data") return plain(value);
  if (typeof shape === "string") return value;
  if (!isList(shape)) return fieldsOf(shape, value);
  return Array.isArray(value) ? value.map((item) => valueFor(shape[0], item)) : null;
}

function fieldsOf(shapes: ShapeMap, value: unknown): Readonly<Record<string, unknown>> {
  const fields: Readonly<Record<string, unknown>> = Object(value);
  const entries = Object.entries(shapes).map(([name, shape]) => [
    wireName(name),
    valueFor(shape, fields[name]),
  ]);
  return Object.fromEntries(entries);
}

function written(shapes: ShapeMap): ShapeMap {
  const entries = Object.entries(shapes).map(([name, shape]) => [wireName(name), wireShape(shape)]);
  return Object.fromEntries(entries);
}

function wireShape(shape: Shape): Shape {
  if (typeof shape === "string") return shape;
  return isList(shape) ? [wireShape(shape[0])] : written(shape);
}

export function isList(shape: Shape): shape is readonly [Shape] {
  return Array.isArray(shape);
}

/** `branchName` becomes `branch_name`. */
function wireName(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

function plain(value: unknown): unknown {
  if (value instanceof Date) return timeOf(value.getTime());
  if (value instanceof URL) return value.href;
  if (Array.isArray(value)) return value.map(plain);
  if (value instanceof Map) return plain(Object.fromEntries(value));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, child]) => [key, plain(child)]));
}

function timeOf(ms: number): string | null {
  if (!Number.isFinite(ms) || Math.abs(ms) > 8.64e15) return null;
  return new Date(ms).toISOString().replace(".000Z", "Z");
}
