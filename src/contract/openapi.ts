import { z } from "zod";
import type { ErrorCode } from "../core/model/errors.ts";
import { replyExamples } from "./examples.ts";
import { type Route, type RouteGroup, routesOf, warningsHeader } from "./route.ts";
import { EventView, GapView } from "./values.ts";

type Json = Record<string, unknown>;

interface DocumentInfo {
  readonly title: string;
  readonly version: string;
  /** The HTTP status of the reply for an error code. */
  statusOf(code: ErrorCode): number;
}

const ErrorEnvelope = z
  .object({
    error: z.object({
      code: z.string().describe("One of a closed list; programs decide by it, not by the message"),
      message: z.string().describe("What is wrong and what to do, for a human reader"),
      details: z
        .union([
          z.array(z.object({ path: z.string(), message: z.string() })),
          z.record(z.string(), z.unknown()),
        ])
        .optional()
        .describe("All schema violations of the request, or details of the refusal"),
      request_id: z.string().describe("Also in X-Request-Id, and in the log"),
    }),
  })
  .meta({ id: "Error" });

const tags: Readonly<Record<string, string>> = {
  system: "State of the orchestrator, event stream and this document",
  issues: "Read issues, steer their agents, and edit issues of the local tracker",
  attempts: "Single runs of an agent on an issue",
  templates: "Prompt templates, and the prompts they render",
  webhooks: "Signed deliveries from other services",
  audit: "Actions of operators and decisions of symphony",
  workspaces: "The directories that agents work in",
  key: "The key that the secrets are encrypted with",
  secrets: "Values that the configuration refers to as $NAME; write-only, encrypted on disk",
  config: "The configuration in force, and the overlay that changes it without a restart",
  models: "The models that the configured provider offers",
  git: "Repositories of the workspaces, and the work they hold",
  usage: "Tokens and their cost",
  tokens: "Tokens with a name and a role, for people and programs",
  workers: "Machines of the fleet that run attempts",
  notices: "Messages to people: the rules of `notify`",
};

const requestIdHeader = {
  "X-Request-Id": { description: "The caller's, or a new one", schema: { type: "string" } },
};

/** The OpenAPI 3.0 document of `group`. Schemas with a `meta({ id })` become named components. */
export function openApiDocument(group: RouteGroup, info: DocumentInfo): Json {
  const schemas = new SchemaBook();
  const paths: Record<string, Json> = {};
  for (const [name, route] of routesOf(group)) {
    const path = route.path.replaceAll(/:(\w+)/g, "{$1}");
    const method = route.method.toLowerCase();
    paths[path] = { ...paths[path], [method]: operation({ name, route, schemas, info }) };
  }
  const used = new Set([...routesOf(group)].map(([name]) => tagOf(name)));
  return {
    openapi: "3.0.3",
    info: {
      title: info.title,
      version: info.version,
      description:
        "Turns an issue tracker into a queue of coding-agent runs. Times are RFC 3339 in UTC; keys are snake_case; absent values are null. On loopback the token is required when `server.auth` is `token`, when `agent.level` is not `safe`, and from another user of the machine.",
      license: { name: "MIT", url: "https://spdx.org/licenses/MIT.html" },
    },
    servers: [{ url: "/", description: "This server" }],
    tags: [...used].map((name) => ({ name, ...(tags[name] && { description: tags[name] }) })),
    security: [{ bearer: [] }, {}],
    paths,
    components: {
      securitySchemes: {
        bearer: { type: "http", scheme: "bearer", description: "The token of `runtime.json`" },
      },
      schemas: schemas.components,
    },
  };
}

interface Entry {
  readonly name: string;
  readonly route: Route;
  readonly schemas: SchemaBook;
  readonly info: DocumentInfo;
}

function operation({ name, route, schemas, info }: Entry): Json {
  return {
    operationId: name,
    summary: route.summary,
    tags: [tagOf(name)],
    ...(route.signed && { security: [] }),
    parameters: [
      ...parameters(route.params, "path", schemas),
      ...parameters(route.query, "query", schemas),
      ...parameters(route.headers, "header", schemas),
    ],
    ...(route.body && { requestBody: requestBody(route, route.body, schemas) }),
    responses: {
      ...replaced(name, route, schemas),
      [route.status]: success(name, route, schemas),
      ...refusals(route, schemas, info),
    },
  };
}

function tagOf(name: string): string {
  return name.split(".")[0] ?? name;
}

function parameters(schema: z.ZodObject | undefined, place: string, schemas: SchemaBook): Json[] {
  return Object.entries(schema?.shape ?? {}).map(([name, field]) => {
    const required = place === "path" || !(field as z.ZodType).safeParse(undefined).success;
    const { description, ...rest } = schemas.of(field as z.ZodType, "input");
    return {
      name,
      in: place,
      required,
      ...(description ? { description } : {}),
      schema: lone(rest),
    };
  });
}

/** Unwraps an `allOf` around a single reference once its description is gone. */
function lone(schema: Json): Json {
  const { allOf, ...siblings } = schema;
  const [only] = Array.isArray(allOf) && Object.keys(siblings).length === 0 ? allOf : [];
  return only ?? schema;
}

function requestBody(route: Route, body: z.ZodType, schemas: SchemaBook): Json {
  const schema = schemas.of(body, "input");
  const example = body.meta()?.["example"];
  const content: Json = { "application/json": { schema, example } };
  if (route.bodyOptional) content["application/x-www-form-urlencoded"] = { schema };
  return { required: route.bodyOptional !== true, content };
}

function success(name: string, route: Route, schemas: SchemaBook): Json {
  const headers: Json = { ...requestIdHeader };
  if (route.etag)
    headers["ETag"] = { description: "For If-None-Match", schema: { type: "string" } };
  if (route.warns) {
    const description = "New warnings of the configuration: a percent-encoded list in JSON";
    headers[warningsHeader] = { description, schema: { type: "string" } };
  }
  if (route.status === 201) {
    headers["Location"] = { description: "Path of the new resource", schema: { type: "string" } };
  }
  return { description: route.summary, headers, ...content(name, route, schemas) };
}

function replaced(name: string, route: Route, schemas: SchemaBook): Json {
  if (route.replacedStatus === undefined) return {};
  const answer = success(name, { ...route, status: route.replacedStatus }, schemas);
  return { [route.replacedStatus]: { ...answer, description: `${route.summary} (replaced)` } };
}

function content(name: string, route: Route, schemas: SchemaBook): Json {
  const example = replyExamples[name];
  const shown = example === undefined ? {} : { example };
  if (route.media === "text/event-stream") {
    schemas.of(EventView, "output");
    schemas.of(GapView, "output");
    const description =
      "Each message has `id:` (the seq), `event:` (the type) and one `data:` line of JSON: an Event, or a Gap after `event: gap`. A comment every 15 s keeps the connection open.";
    return { content: { [route.media]: { schema: { type: "string", description }, ...shown } } };
  }
  if (route.media) return { content: { [route.media]: { schema: { type: "string" }, ...shown } } };
  if (!route.reply) return {};
  const schema = schemas.of(route.reply, "output");
  return { content: { "application/json": { schema, ...shown } } };
}

/** Replies that every route may give, then those that this one declares, by status. */
function refusals(route: Route, schemas: SchemaBook, info: DocumentInfo): Json {
  const mutation: ErrorCode[] =
    route.method === "GET" ? [] : ["forbidden_origin", "storage_unavailable"];
  const body: ErrorCode[] = route.body ? ["invalid_json", "body_too_large"] : [];
  const always: ErrorCode[] = [
    "invalid_request",
    "unsupported_media_type",
    "unauthorized",
    "forbidden_host",
    "forbidden_role",
    "rate_limited",
    "internal_error",
    "unavailable",
  ];
  const codes = new Set([...always, ...mutation, ...body, ...(route.errors ?? [])]);
  const byStatus = Object.groupBy(codes, (code) => info.statusOf(code));
  const schema = schemas.of(ErrorEnvelope, "output");
  const answers: Json = {};
  for (const [status, group = []] of Object.entries(byStatus)) {
    const description = group.map((code) => `\`${code}\``).join(", ");
    const headers = requestIdHeader;
    const examples = Object.fromEntries(group.map((code) => [code, { value: refusal(code) }]));
    answers[status] = {
      description,
      headers,
      content: { "application/json": { schema, examples } },
    };
  }
  if (route.etag) answers["304"] = { description: "Not changed since If-None-Match" };
  return answers;
}

function refusal(code: ErrorCode): z.output<typeof ErrorEnvelope> {
  const message = `${code.replaceAll("_", " ")}: what is wrong, and what to do`;
  return { error: { code, message, request_id: "req_0123456789abcdef" } };
}

type JsonSchema = Record<string, unknown>;

/** JSON Schemas in the dialect of OpenAPI 3.0; those with a `meta({ id })` become named components. */
class SchemaBook {
  readonly components: JsonSchema = {};

  /** `input`: what a caller may send; `output`: what a reply contains. */
  of(schema: z.ZodType, io: "input" | "output"): JsonSchema {
    const { definitions, ...rest } = z.toJSONSchema(schema, {
      target: "openapi-3.0",
      io,
      override: ({ zodSchema, jsonSchema }) => {
        tidy(jsonSchema, io);
        if (io === "input") notBlank(zodSchema, jsonSchema);
      },
    });
    const named = isObject(definitions) ? definitions : {};
    // zod nests named schemas under `definitions`, which OpenAPI 3.0 does not have.
    const components = relinked(resolved(named, named));
    const written = relinked(resolved(rest, named));
    const text = JSON.stringify([components, written]);
    // A schema that is inlined everywhere is not listed as a component.
    for (const [id, component] of Object.entries(components)) {
      if (text.includes(`"#/components/schemas/${id}"`)) this.components[id] = component;
    }
    return written;
  }
}

function tidy(schema: JsonSchema, io: "input" | "output"): void {
  // The format implies the pattern, which is very long.
  if (schema["format"] === "date-time") delete schema["pattern"];
  // Replies may gain fields: a client must accept fields that it does not know.
  if (io === "output" && schema["additionalProperties"] === false) {
    delete schema["additionalProperties"];
  }
  // Bounds of JavaScript's integers are noise in a reply; in a request a larger maximum is refused.
  if (schema["minimum"] === Number.MIN_SAFE_INTEGER) delete schema["minimum"];
  if (io === "output" && schema["maximum"] === Number.MAX_SAFE_INTEGER) delete schema["maximum"];
  repeatable(schema);
}

/** A parameter that may be repeated is a list: a single value is a list of one. */
function repeatable(schema: JsonSchema): void {
  const { anyOf } = schema;
  if (!Array.isArray(anyOf) || anyOf.length !== 2) return;
  const [one, many] = anyOf as [JsonSchema, JsonSchema];
  if (many["type"] !== "array" || JSON.stringify(many["items"]) !== JSON.stringify(one)) return;
  delete schema["anyOf"];
  Object.assign(schema, many);
}

/** A string that is trimmed before its length is checked must hold a non-blank character. */
function notBlank(schema: z.core.$ZodType, json: JsonSchema): void {
  if (json["type"] !== "string" || !json["minLength"] || "pattern" in json) return;
  const { checks = [] } = schema._zod.def;
  if (checks.some((check) => check._zod.def.check === "overwrite")) json["pattern"] = "\\S";
}

/**
 * Makes every null that `schema` allows valid in OpenAPI 3.0, which ignores `nullable` next to `allOf` and in
 * an `enum` without null. A named schema that may be null is inlined for that.
 */
function resolved(schema: unknown, named: JsonSchema): unknown {
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

function target({ $ref }: JsonSchema, named: JsonSchema): JsonSchema {
  const found = named[String($ref).replace("#/definitions/", "")];
  return isObject(found) ? found : {};
}

function isObject(value: unknown): value is JsonSchema {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function relinked(schema: unknown): JsonSchema {
  return JSON.parse(JSON.stringify(schema).replaceAll("#/definitions/", "#/components/schemas/"));
}
