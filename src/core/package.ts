// The files of this package. Its code runs from the sources in a checkout and from the bundle in an installed package, where a
// module's own address says nothing about its place: files are named from the root of the package.

// Importing node:fs by name costs 3 ms of every start; the commands load this file first.
const { existsSync, readFileSync } = process.getBuiltinModule("node:fs");
const { fileURLToPath } = process.getBuiltinModule("node:url");

const isCheckout = import.meta.url.endsWith(".ts");

/** The directory that holds package.json. */
const root = rootAbove(new URL(".", import.meta.url));

/** The directory of the code that runs: `src` in a checkout, `dist` in an installed package. */
const code = new URL(isCheckout ? "src/" : "dist/", root);

/** The file that starts symphony, for programs that have to start it again. */
export const program = fileURLToPath(new URL("bin/symphony.js", root));

/** What must be readable for `program` to run without its dependencies. Absolute paths. */
export const ownPaths: readonly string[] = ["bin", "package.json", isCheckout ? "src" : "dist"].map(
  (path) => fileURLToPath(new URL(path, root)),
);

/** The version in package.json. */
export function version(): string {
  return JSON.parse(readFileSync(new URL("package.json", root), "utf8")).version;
}

/**
 * A module that is started as a program, as a thread or in a browser. `path`: relative to `src`, without its extension, such as
 * `demo/agent`. It must be an entry of the build in package.json.
 */
export function moduleFile(path: string): URL {
  return new URL(`${path}.${isCheckout ? "ts" : "js"}`, code);
}

/** A file that the build put next to the code, such as `swagger-ui/LICENSE`; null in a checkout. */
export function builtFile(path: string): string | null {
  return isCheckout ? null : fileURLToPath(new URL(path, code));
}

function rootAbove(dir: URL): URL {
  if (existsSync(new URL("package.json", dir))) return dir;
  const above = new URL("..", dir);
  if (above.href === dir.href) throw new Error("symphony's own package.json is missing");
  return rootAbove(above);
}
