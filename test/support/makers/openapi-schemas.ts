import { Ajv, type ValidateFunction } from "ajv";
import { api } from "../../../src/contract/api.ts";
import { openApiDocument } from "../../../src/contract/openapi.ts";
import { statusOf } from "../../../src/server/errors.ts";

// biome-ignore lint/suspicious/noExplicitAny: the document is read without types, as clients read it
export type Json = any;

export interface Operation {
  readonly name: string;
  readonly method: string;
  /** As in the document: `/api/v1/{id}`. */
  readonly path: string;
  readonly spec: Json;
  /** A JSON pointer into the document. */
  readonly pointer: string;
}

/** The OpenAPI document of the API, and an independent validator for any schema in it. */
export class ApiDocument {
  readonly json: Json;
  readonly operations: readonly Operation[];
  readonly #ajv = new Ajv({ strict: false, allErrors: true });

  constructor(
    json: Json = openApiDocument(api, { title: "symphony", version: "0.0.0", statusOf }),
  ) {
    this.json = json;
    this.#ajv.addFormat("date-time", /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/);
    this.#ajv.addSchema(draft7(this.json), "api");
    this.operations = Object.entries<Json>(this.json.paths).flatMap(([path, item]) =>
      Object.entries<Json>(item).map(([method, spec]) => {
        const pointer = `/paths/${path.replaceAll("~", "~0").replaceAll("/", "~1")}/${method}`;
        return { name: spec.operationId, method: method.toUpperCase(), path, spec, pointer };
      }),
    );
  }

  operation(name: string): Operation {
    const found = this.operations.find((one) => one.name === name);
    if (found === undefined) throw new Error(`the document has no ${name}`);
    return found;
  }

  /** The violations of the schema at `pointer` by `value`; null when there are none. */
  faults(pointer: string, value: unknown): string | null {
    const found = this.#ajv.getSchema(`api#${encodeURI(pointer)}`) as ValidateFunction | undefined;
    if (found === undefined) throw new Error(`no schema at ${pointer}`);
    return found(value) ? null : this.#ajv.errorsText(found.errors).slice(0, 500);
  }
}

/**
 * The document as JSON Schema: exclusive bounds, which are flags next to `minimum`, become numbers, and an object has
 * no other fields than the listed ones. A client must accept more; a test of this server need not.
 */
function draft7(node: Json): Json {
  if (Array.isArray(node)) return node.map(draft7);
  if (node === null || typeof node !== "object") return node;
  const copy = Object.fromEntries(
    Object.entries<Json>(node).map(([key, value]) => [key, draft7(value)]),
  );
  for (const [flag, bound] of [
    ["exclusiveMinimum", "minimum"],
    ["exclusiveMaximum", "maximum"],
  ] as const) {
    if (copy[flag] === true) {
      copy[flag] = copy[bound];
      delete copy[bound];
    }
  }
  if (copy.properties && copy.type === "object") copy.additionalProperties ??= false;
  return copy;
}
