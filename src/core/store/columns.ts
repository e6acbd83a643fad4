import type { Row } from "./database.ts";

/** Typed access to columns of STRICT tables; a mismatch is a bug in a query, not bad data. */
export function text(row: Row, name: string): string {
  const value = row[name];
  if (typeof value !== "string") throw new TypeError(`column ${name} is not text`);
  return value;
}

export function textOrNull(row: Row, name: string): string | null {
  return row[name] === null ? null : text(row, name);
}

export function int(row: Row, name: string): number {
  const value = row[name];
  if (typeof value !== "number") throw new TypeError(`column ${name} is not a number`);
  return value;
}

export function intOrNull(row: Row, name: string): number | null {
  return row[name] === null ? null : int(row, name);
}
