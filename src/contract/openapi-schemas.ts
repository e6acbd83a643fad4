import { z } from "zod";

type Json = Record<string, unknown>;

/** JSON Schemas in the dialect of OpenAPI 3.0; those with a `meta({ id })` are collected as named components. */
export class SchemaBook {
  readonly components: Json = {};

  /** `input` is what a caller may send, `output` what is answered. */
  of(schema: z.ZodType, io: "input" | "output"): Json {
    const { definitions, ...rest } = z.toJSONSchema(schema, {
      target: "openapi-3.0",
      io,
      override: ({ zodSchema, jsonSchema }) => {
        tidy(jsonSchema, io);
        if (io === "input") notBlank(zodSchema, jsonSchema);
      },
    });
    const named = isObject(definitions) ? definitions : {};
    // zod nests named schemas under `definitions`, which OpenAPI 3.0 has not.
    const components = relinked(resolved(named, named));
    const written = relinked(resolved(rest, named));
    const text = JSON.stringify([components, written]);
    // One that was written out wherever it is used is nobody's component.
    for (const [id, component] of Object.entries(components)) {
      if (text.includes(`"#/components/schemas/${id}"`)) this.components[id] = component;
    }
    return written;
  }
}

function tidy(schema: Json, io: "input" | "output"): void {
  // The format says it already, and the pattern is half a page.
  if (schema["format"] === "date-time") delete schema["pattern"];
  // Replies may grow: a client must not refuse what it does not know.
  if (io === "output" && schema["additionalProperties"] === false) {
    delete schema["additionalProperties"];
  }
  // The bounds of JavaScript's integers say nothing about an answer, but more than them is refused.
  if (schema["minimum"] === Number.MIN_SAFE_INTEGER) delete schema["minimum"];
  if (io === "output" && schema["maximum"] === Number.MAX_SAFE_INTEGER) delete schema["maximum"];
  repeatable(schema);
}

/** A parameter that may be repeated is a list: one value is a list of one. */
function repeatable(schema: Json): void {
  const { anyOf } = schema;
  if (!Array.isArray(anyOf) || anyOf.length !== 2) return;
  const [one, many] = anyOf as [Json, Json];
  if (many["type"] !== "array" || JSON.stringify(many["items"]) !== JSON.stringify(one)) return;
  delete schema["anyOf"];
  Object.assign(schema, many);
}

/** A text that is trimmed before it is measured must hold more than blanks. */
function notBlank(schema: z.core.$ZodType, json: Json): void {
  if (json["type"] !== "string" || !json["minLength"] || "pattern" in json) return;
  const { checks = [] } = schema._zod.def;
  if (checks.some((check) => check._zod.def.check === "overwrite")) json["pattern"] = "\\S";
}

/**
 * `schema` with every null that it allows really allowed: beside `allOf`, or without it in an `enum`,
 * OpenAPI 3.0 takes `nullable` for nothing. A named schema that may be null is written out for that.
 */
function resolved(schema: unknown, named: Json): unknown {
  if (Array.isArray(schema)) return schema.map((item) => resolved(item, named));
  if (!isObject(schema)) return schema;
  const { allOf, ...siblings } = schema;
  const only = Array.isArray(allOf) && allOf.length === 1 ? allOf[0] : undefined;
  if (isObject(only)) {
    if (schema["nullable"] === true)
      return resolved({ ...target(only, named), ...siblings }, named);
    if (Object.keys(siblings).length === 0) return only;
  }
  const entries = Object.entries(schema).map(([key, value]) => [key, resolved(value, named)]);
  const { enum: values } = schema;
  if (schema["nullable"] === true && Array.isArray(values) && !values.includes(null)) {
    entries.push(["enum", [...values, null]]);
  }
  return Object.fromEntries(entries);
}

function target({ $ref }: Json, named: Json): Json {
  const found = named[String($ref).replace("#/definitions/", "")];
  return isObject(found) ? found : {};
}

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function relinked(schema: unknown): Json {
  return JSON.parse(JSON.stringify(schema).replaceAll("#/definitions/", "#/components/schemas/"));
}
