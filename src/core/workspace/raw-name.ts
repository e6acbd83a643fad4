// An agent may choose names that are no UTF-8, and two of those must not become one when they are read. So a raw name has
// one character for each byte (latin1), and only this file goes from one form to the other.

/** The file `name` (raw, relative; empty for `root` itself) below `root` (plain text), as node:fs takes it. */
export function fileAt(root: string, name: string): Buffer {
  return name === "" ? Buffer.from(root) : Buffer.from(`${rawName(root)}/${name}`, "latin1");
}

/** Plain text as a raw name. */
export function rawName(text: string): string {
  return Buffer.from(text, "utf8").toString("latin1");
}

/** A raw name for people. */
export function plainName(name: string): string {
  return Buffer.from(name, "latin1").toString("utf8");
}
