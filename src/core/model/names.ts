import { z } from "zod";

// The API and the workflow file use snake_case, the code uses camelCase. Both directions follow a zod object: its keys are
// renamed, and nothing else is written. Keys inside a record are data and are not renamed.

/** `turn_timeout_ms` becomes `turnTimeoutMs`. */
export type CamelCase<Name extends string> = Name extends `${infer Head}_${infer Tail}`
  ? `${Head}${Capitalize<CamelCase<Tail>>}`
  : Name;

function camelCase(name: string): string {
  return name.replaceAll(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

/** A section of the configuration with the names of the code; the values are unchanged. */
export type Renamed<Schema extends z.ZodObject> = {
  readonly [Key in keyof Schema["shape"] & string as CamelCase<Key>]: z.output<
    Schema["shape"][Key]
  >;
};

/** The known keys of `written` under the names that the code reads. Unknown keys are left out. */
export function renamed<Schema extends z.ZodObject>(
  schema: Schema,
  written: z.output<Schema>,
): Renamed<Schema> {
  const values: Readonly<Record<string, unknown>> = written;
  const entries = Object.keys(schema.shape).map((key) => [camelCase(key), values[key]]);
  // As the type says: one entry for each key of the shape.
  return Object.fromEntries(entries) as Renamed<Schema>;
}

/** The code's form of a value of `Schema`: camelCase keys, and times in ms since the epoch. */
export type Unwritten<Schema> = Schema extends z.ZodISODateTime
  ? number
  : Schema extends z.ZodNullable<infer Inner>
    ? Unwritten<Inner> | null
    : Schema extends z.ZodOptional<infer Inner>
      ? Unwritten<Inner> | undefined
      : Schema extends z.ZodArray<infer Item>
        ? readonly Unwritten<Item>[]
        : Schema extends z.ZodDiscriminatedUnion<infer Options>
          ? Unwritten<Options[number]>
          : Schema extends z.ZodObject<infer Shape>
            ? { readonly [Key in keyof Shape & string as CamelCase<Key>]: Unwritten<Shape[Key]> }
            : Schema extends z.ZodRecord
              ? Readonly<z.output<Schema>>
              : z.output<Schema>;

type Write = (value: unknown) => unknown;

/**
 * Returns the function that writes a value in the form of `schema`: keys in snake_case, times as RFC 3339 in UTC. Only keys
 * of the schema are written. The schema is read once, here; the value is not validated again.
 */
export function writerOf<Schema extends z.ZodObject>(
  schema: Schema,
): (value: Unwritten<Schema>) => z.output<Schema> {
  return objectWriter(schema) as (value: Unwritten<Schema>) => z.output<Schema>;
}

/** null: the value is written unchanged. */
function valueWriter(schema: unknown): Write | null {
  if (schema instanceof z.ZodISODateTime) return (ms) => timeText(Number(ms));
  if (schema instanceof z.ZodObject) return objectWriter(schema);
  if (schema instanceof z.ZodDiscriminatedUnion) return unionWriter(schema);
  if (schema instanceof z.ZodNullable) {
    const write = valueWriter(schema.unwrap());
    return write && ((value) => (value === null ? null : write(value)));
  }
  if (schema instanceof z.ZodOptional) {
    const write = valueWriter(schema.unwrap());
    return write && ((value) => (value === undefined ? undefined : write(value)));
  }
  if (schema instanceof z.ZodArray) {
    const write = valueWriter(schema.element);
    return write && ((list) => (Array.isArray(list) ? list.map((item) => write(item)) : list));
  }
  return null;
}

function objectWriter({ shape }: z.ZodObject): Write {
  const fields = Object.entries(shape).map(([key, field]) => ({
    key,
    name: camelCase(key),
    write: valueWriter(field),
  }));
  // An object that is copied with all its keys is several times faster to fill and to serialise than one that gets its keys
  // one by one.
  const blank: Readonly<Record<string, unknown>> = JSON.parse(
    JSON.stringify(Object.fromEntries(fields.map(({ key }) => [key, null]))),
  );
  return (value) => {
    const source: Readonly<Record<string, unknown>> = Object(value);
    const written: Record<string, unknown> = { ...blank };
    for (const { key, name, write } of fields) {
      written[key] = write === null ? source[name] : write(source[name]);
    }
    return written;
  };
}

const maxTimes = 5_000;
const times = new Map<number, string>();

/** Rows are written repeatedly with the same times, and formatting a time is half of the cost of a row. */
function timeText(ms: number): string {
  const known = times.get(ms);
  if (known !== undefined) return known;
  if (times.size >= maxTimes) times.clear();
  const text = new Date(ms).toISOString();
  times.set(ms, text);
  return text;
}

/** A literal identifies each option. */
function unionWriter({ def: { discriminator, options } }: z.ZodDiscriminatedUnion): Write {
  const writers = new Map<unknown, Write>();
  for (const option of options) {
    if (!(option instanceof z.ZodObject)) throw new Error("an option of a union is not an object");
    const word = option.shape[discriminator];
    if (!(word instanceof z.ZodLiteral)) throw new Error(`${discriminator} is not a literal`);
    writers.set(word.value, objectWriter(option));
  }
  return (value) => {
    const write = writers.get(Object(value)[discriminator]);
    if (!write) throw new Error(`a value without a known ${discriminator}`);
    return write(value);
  };
}
