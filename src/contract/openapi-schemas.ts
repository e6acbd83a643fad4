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
      override: ({ jsonSchema }) => tidy(jsonSchema, io),
    });
    // zod nests named schemas under `definitions`, which OpenAPI 3.0 has not.
    Object.assign(this.components, relinked(definitions ?? {}));
    return relinked(rest);
  }
}

function tidy(schema: Json, io: "input" | "output"): void {
  // The format says it already, and the pattern is half a page.
  if (schema["format"] === "date-time") delete schema["pattern"];
  // Replies may grow: a client must not refuse what it does not know.
  if (io === "output" && schema["additionalProperties"] === false) {
    delete schema["additionalProperties"];
  }
  // The bounds of JavaScript's integers say nothing about the value.
  if (schema["minimum"] === Number.MIN_SAFE_INTEGER) delete schema["minimum"];
  if (schema["maximum"] === Number.MAX_SAFE_INTEGER) delete schema["maximum"];
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

function relinked(schema: unknown): Json {
  return JSON.parse(JSON.stringify(schema).replaceAll("#/definitions/", "#/components/schemas/"));
}
