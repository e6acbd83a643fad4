import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";

// Compiles src to dist. Packages of many small files that every start loads become one file each in dist/vendor, because
// finding a file takes longer than running it. The others are loaded from node_modules. Further arguments: `--sourcemap`.

const joined = ["execa", "yaml", "zod", "prom-client", "commander", "koa"];
const shared = {
  bundle: true,
  format: "esm",
  platform: "node",
  target: "node24",
  supported: { using: true },
  minify: true,
  logLevel: "warning",
  sourcemap: process.argv.includes("--sourcemap"),
};

await build({
  ...shared,
  entryPoints: ["src/commands/main.ts", "src/core/prompt/render-worker.ts", "src/demo/agent.ts"],
  outbase: "src",
  outdir: "dist",
  splitting: true,
  packages: "external",
  chunkNames: "chunks/[hash]",
  alias: Object.fromEntries(joined.map((name) => [name, `#vendor/${name}`])),
  external: ["#vendor/*"],
});

/** The directories of all packages that went into the files. */
const used = new Set();
for (const name of joined) {
  const { metafile } = await build({
    ...shared,
    stdin: { contents: await exportsOf(name), resolveDir: process.cwd() },
    outfile: `dist/vendor/${name}.js`,
    metafile: true,
    // For packages that are no modules yet.
    banner: {
      js: 'import{createRequire}from"node:module";const require=createRequire(import.meta.url);',
    },
  });
  for (const file of Object.keys(metafile.inputs)) {
    const [dir] = /^node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file) ?? [];
    if (dir) used.add(dir);
  }
}
writeFileSync("dist/vendor/LICENSES", [...used].sort().map(licenceOf).join("\n"));

/** By name: what a package that is no module yet exports is not known to esbuild. */
async function exportsOf(name) {
  const names = Object.keys(await import(name)).filter((one) => /^[A-Za-z_$][\w$]*$/.test(one));
  return `export { ${names.filter((one) => one !== "module").join(", ")} } from "${name}";`;
}

function licenceOf(dir) {
  const { name, version, license } = JSON.parse(readFileSync(join(dir, "package.json"), "utf8"));
  const file = readdirSync(dir).find((one) => /^licen[cs]e/i.test(one));
  const text = file === undefined ? "" : readFileSync(join(dir, file), "utf8");
  return `${name} ${version} (${license})\n\n${text}`;
}
