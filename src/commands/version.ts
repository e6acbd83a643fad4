/** The version in package.json, which has the same relative path from the sources and from the build. */
export function version(): string {
  // Here and in context.ts: importing node:fs by name costs 3 ms of every start.
  const { readFileSync } = process.getBuiltinModule("node:fs");
  return JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")).version;
}
