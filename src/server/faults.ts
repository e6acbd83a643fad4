import type { z } from "zod";

// What is wrong with a request, in plain sentences: the schemas' own messages are for programmers.

/** A part of a request that its schema refuses; `path` is empty for the whole part. */
export interface Fault {
  readonly path: string;
  readonly message: string;
}

/** The value as the schema parses it, or what is wrong with it. */
export function checked(
  schema: z.ZodType,
  value: unknown,
): { readonly value: unknown } | { readonly faults: readonly Fault[] } {
  // A schema with a message of its own keeps it.
  const result = schema.safeParse(value, { error: (issue) => wordsFor(issue) });
  return result.success
    ? { value: result.data }
    : { faults: result.error.issues.flatMap(faultsOf) };
}

function faultsOf(issue: z.core.$ZodIssue): Fault[] {
  const path = issue.path.map(String);
  if (issue.code !== "unrecognized_keys") return [{ path: path.join("."), message: issue.message }];
  return issue.keys.map((key) => ({ path: [...path, key].join("."), message: "unknown key" }));
}

function wordsFor(issue: z.core.$ZodRawIssue): string | undefined {
  switch (issue.code) {
    case "too_small":
      return issue.minimum === 1 && issue.origin === "string"
        ? "must not be empty"
        : limitWords("at least", Number(issue.minimum), issue.origin);
    case "too_big":
      return limitWords("at most", Number(issue.maximum), issue.origin);
    case "invalid_type":
      return issue.input === undefined ? "is missing" : typeWords[issue.expected];
    case "invalid_value":
      return `must be one of ${issue.values.map(String).join(", ")}`;
    case "invalid_format":
      return formatWords[issue.format];
    default:
      return undefined;
  }
}

const countedAs: Readonly<Record<string, string>> = {
  string: "characters",
  array: "entries",
  set: "entries",
  object: "keys",
};

function limitWords(which: string, limit: number, origin: string): string {
  const counted = countedAs[origin];
  const amount = limit.toLocaleString("en-US");
  return counted === undefined
    ? `must be ${which} ${amount}`
    : `must have ${which} ${amount} ${counted}`;
}

const typeWords: Readonly<Record<string, string>> = {
  number: "must be a number",
  int: "must be a whole number",
  string: "must be text",
  boolean: "must be true or false",
  array: "must be a list",
  object: "must be an object",
  record: "must be an object",
};

const formatWords: Readonly<Record<string, string>> = {
  date: "must be a day such as 2026-11-23",
  datetime: "must be a time such as 2026-11-23T17:00:00Z",
};
