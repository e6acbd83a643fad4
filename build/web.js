import { mkdirSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

// The page's program and its style, as they are sent to a browser: compressed once, here.

const { outputFiles } = await build({
  entryPoints: ["src/web/main.ts", "src/web/style.css"],
  outdir: "dist/web",
  write: false,
  bundle: true,
  splitting: true,
  format: "esm",
  target: "es2024",
  packages: "external",
  minify: true,
  logLevel: "warning",
});
mkdirSync("dist/web", { recursive: true });
for (const { path, contents } of outputFiles) {
  writeFileSync(`${path}.gz`, gzipSync(contents, { level: 9 }));
}
