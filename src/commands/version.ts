/** The version in package.json, which stands at the same distance from the sources and from the build. */
export function version(): string {
  // Here and in discover.ts: importing node:fs by name costs 3 ms of every start.
  const { readFileSync } = process.getBuiltinModule("node:fs");
  return JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")).version;
}
