/** The contract's own words. A secret that is one of them would take the shape of every answer apart. */
const plainKey = /^[a-z][a-z_]{0,31}$/i;

/** A copy of plain data with `redact` applied to every text in it, keys included. */
export function redactDeep<T>(data: T, redact: (text: string) => string): T;
export function redactDeep(data: unknown, redact: (text: string) => string): unknown {
  if (typeof data === "string") return redact(data);
  if (Array.isArray(data)) return data.map((item: unknown) => redactDeep(item, redact));
  if (!isPlain(data)) return data;
  return Object.fromEntries(
    Object.entries(data).map(([key, value]) => [
      plainKey.test(key) ? key : redact(key),
      redactDeep(value, redact),
    ]),
  );
}

function isPlain(data: unknown): data is object {
  if (typeof data !== "object" || data === null) return false;
  const prototype: unknown = Object.getPrototypeOf(data);
  return prototype === Object.prototype || prototype === null;
}
