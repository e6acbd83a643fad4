import type { Part, Stream } from "./engine.ts";
import type { Row } from "./packages.ts";

// What the rows of the tables say.

export function nameOf({ way, worker }: Stream): string {
  return `${way}:${worker}`;
}

export function partOf(row: Row): Part {
  const data = bytesOf(row["data"]) ?? Buffer.alloc(0);
  return {
    run: String(row["run"]),
    seq: Number(row["seq"]),
    isLast: row["is_last"] === true,
    data,
  };
}

export function bytesOf(value: unknown): Buffer | null {
  return Buffer.isBuffer(value) ? value : null;
}

export function textOf(value: unknown): string | null {
  return value == null ? null : String(value);
}
