import fc from "fast-check";
import type { Json } from "./openapi-schemas.ts";

/** Values that `schema` of the document `root` allows; for rules that the schema cannot express, the caller adds a filter. */
export function allowedBy(schema: Json, root: Json): fc.Arbitrary<Json> {
  if (schema.$ref) return allowedBy(targetOf(schema.$ref, root), root);
  if (schema.allOf) return allowedBy(schema.allOf[0], root);
  const { nullable, ...rest } = schema;
  if (nullable) return fc.option(allowedBy(rest, root), { nil: null });
  if (schema.enum) return fc.constantFrom(...schema.enum);
  switch (schema.type) {
    case "string":
      return textOf(schema);
    case "integer":
      return fc.integer({ min: schema.minimum ?? 0, max: schema.maximum ?? 2_000_000_000 });
    case "boolean":
      return fc.boolean();
    case "array":
      return fc.array(allowedBy(schema.items, root), {
        maxLength: Math.min(schema.maxItems ?? 4, 4),
      });
    case "object":
      return objectOf(schema, root);
    default:
      return fc.jsonValue({ maxDepth: 2 });
  }
}

/** Values close to `allowed` ones: another type, one field too many or too few, or a field of another type. */
export function nearMissesOf(allowed: fc.Arbitrary<Json>): fc.Arbitrary<Json> {
  const junk = fc.constantFrom<Json>(null, -1, 1.5, 10 ** 12, "", "   ", true, [], {}, [[null]]);
  const long = fc.constantFrom(70_000, 250_000).map((length) => "x".repeat(length));
  const other = fc.oneof({ weight: 4, arbitrary: junk }, { weight: 1, arbitrary: long });
  const inside = fc.tuple(allowed, other, fc.nat()).map(([value, put, at]) => {
    if (value === null || typeof value !== "object" || Array.isArray(value)) return put;
    const keys = Object.keys(value);
    const key = keys[at % Math.max(keys.length, 1)];
    return key === undefined ? put : { ...value, [key]: put };
  });
  const fewer = fc.tuple(allowed, fc.nat()).map(([value, at]) => {
    const entries = Object.entries(value ?? {});
    return Object.fromEntries(entries.filter((_, index) => index !== at % entries.length));
  });
  const more = fc.tuple(allowed, junk).map(([value, put]) => ({ ...value, surplus: put }));
  return fc.oneof(other, inside, fewer, more);
}

function textOf({ minLength = 0, maxLength = 40, pattern, format }: Json): fc.Arbitrary<string> {
  if (format === "date-time") {
    const range = { min: new Date(0), max: new Date("2099-01-01"), noInvalidDate: true };
    return fc.date(range).map((date) => date.toISOString());
  }
  if (format === "date") {
    const range = { min: new Date(0), max: new Date("2099-01-01"), noInvalidDate: true };
    return fc.date(range).map((date) => date.toISOString().slice(0, 10));
  }
  if (pattern?.startsWith("^[")) return fc.stringMatching(new RegExp(pattern, "u"));
  const unit = fc.constantFrom<"grapheme" | "grapheme-ascii">("grapheme", "grapheme-ascii");
  const size = { minLength, maxLength: Math.min(maxLength, 40) };
  return unit.chain((kind) => fc.string({ ...size, unit: kind }));
}

function objectOf({ properties = {}, required = [], additionalProperties }: Json, root: Json) {
  const fields = Object.fromEntries(
    Object.entries(properties).map(([key, field]) => [key, allowedBy(field, root)]),
  );
  const named = fc.record(fields, { requiredKeys: required });
  if (!additionalProperties) return named;
  const free = fc.dictionary(fc.string({ maxLength: 10 }), fc.jsonValue({ maxDepth: 2 }), {
    maxKeys: 3,
  });
  return fc.tuple(free, named).map(([extra, own]) => ({ ...extra, ...own }));
}

function targetOf(ref: string, root: Json): Json {
  return ref
    .replace("#/", "")
    .split("/")
    .reduce((node, key) => node[key], root);
}
