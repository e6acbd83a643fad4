import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { isBuiltin } from "node:module";
import { basename, dirname, join, resolve } from "node:path";
import { build } from "esbuild";
import { merged } from "./merged.js";

// Compiles src to dist. Packages of many small files that every start loads become one file each in dist/vendor, because
// finding a file takes longer than running it. The others are loaded from node_modules. Further arguments: `--sourcemap`.

const joined = ["execa", "yaml", "zod", "prom-client", "commander", "koa", "@koa/router"].concat(
  ...["chokidar", "lowdb"],
);
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

const { outputFiles, metafile: made } = await build({
  ...shared,
  write: false,
  metafile: true,
  entryPoints: ["src/commands/main.ts", "src/core/prompt/render-worker.ts", "src/demo/agent.ts"],
  outbase: "src",
  outdir: "dist",
  splitting: true,
  packages: "external",
  chunkNames: "chunks/[hash]",
  alias: Object.fromEntries(joined.map((name) => [name, `#vendor/${name}`])),
  external: ["#vendor/*"],
});
writeShort(shared.sourcemap ? outputFiles : await merged(outputFiles, made, shared));

/** The directories of all packages that went into the files. */
const used = new Set();
/** Koa brings two tables of all media types, which take longer to prepare than Koa itself. No answer of the API looks into them. */
const typesWhenAsked = {
  name: "types-when-asked",
  setup(plugin) {
    const namespace = "when-asked";
    plugin.onResolve({ filter: /^mime-types$/ }, ({ path }) => ({ path, namespace }));
    plugin.onLoad({ filter: /./, namespace }, () => {
      const names = ["charset", "contentType", "extension", "lookup"];
      const one = (name) =>
        `exports.${name} = (value) => require("mime-types/index.js").${name}(value);`;
      return { contents: names.map(one).join("\n"), resolveDir: process.cwd() };
    });
  },
};
/** prom-client brings two clients of other programs, one of which loads HTTPS, TLS and zlib at its import. No code of src uses them. */
const withoutPushing = {
  name: "without-pushing",
  setup(plugin) {
    const filter = /\/prom-client\/lib\/(?:pushgateway|cluster)\.js$/;
    plugin.onLoad({ filter }, () => ({ contents: "" }));
  },
};
for (const name of joined) {
  const { outputFiles: files, metafile } = await build({
    ...shared,
    stdin: { contents: await exportsOf(name), resolveDir: process.cwd() },
    outfile: `dist/vendor/${name}.js`,
    metafile: true,
    write: false,
    plugins: [typesWhenAsked, withoutPushing],
    // For packages that are no modules yet.
    banner: {
      js: 'import{createRequire}from"node:module";const require=createRequire(import.meta.url);',
    },
  });
  for (const { path, text } of files) writeFile(path, shared.sourcemap ? text : withBuiltins(text));
  for (const file of Object.keys(metafile.inputs)) {
    const [dir] = /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file) ?? [];
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

/**
 * Writes the files with short names and without imports that bind nothing and load nothing more: each file would
 * repeat most of those of the files that it imports. No module of src is imported only for what it does
 * (test/architecture.test.ts). With maps the files stay as they are: their columns are those of the maps.
 */
function writeShort(files) {
  if (shared.sourcemap) {
    for (const { path, contents } of files) writeFile(path, contents);
    return;
  }
  const texts = new Map(files.map(({ path, text }) => [path, text]));
  const targetOf = (path, from) => resolve(dirname(from), path);
  const imports = new Map();
  for (const [path, text] of texts) {
    const found = [...text.matchAll(/(?:^|[;}\n])(import|export)(\{[^}]*\}from)?"(\.[^"]+)"/g)];
    imports.set(
      path,
      found.map(([, , names, file]) => ({ names, file, to: targetOf(file, path) })),
    );
  }
  const reaches = (from, to, without) => {
    const seen = new Set([from]);
    for (const path of seen)
      for (const one of imports.get(path) ?? []) {
        if (one === without) continue;
        if (one.to === to) return true;
        seen.add(one.to);
      }
    return false;
  };
  for (const [path, all] of imports) {
    for (const one of all.filter(({ names }) => names === undefined)) {
      if (!reaches(path, one.to, one)) continue;
      all.splice(all.indexOf(one), 1);
      texts.set(path, texts.get(path).replace(`import"${one.file}";`, ""));
    }
  }
  const isChunk = (path) => /\/chunks\/[A-Z0-9]{8}\.js$/.test(path);
  const chunks = [...texts.keys()].filter(isChunk).map((path) => basename(path));
  const short = new Map(chunks.map((name, at) => [name, `${at.toString(36)}.js`]));
  // A server that runs while another release is installed must not load that one's files under the names of its own.
  const release = createHash("sha256").update(chunks.join()).digest("hex").slice(0, 8);
  const dir = join("dist", release);
  for (const [path, text] of texts) {
    const own = withBuiltins(text)
      .replace(/(?<=\/)[A-Z0-9]{8}\.js\b/g, (name) => short.get(name) ?? name)
      .replace(/"((?:\.\.\/)+|\.\/)chunks\//g, `"$1${release}/`);
    writeFile(isChunk(path) ? join(dir, short.get(basename(path))) : path, own);
  }
}

function writeFile(path, contents) {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, contents);
}

/**
 * `text` without imports of Node's own modules: an import evaluates everything that a module exports, and some of that loads
 * much that is never used.
 */
function withBuiltins(text) {
  const imports =
    /(?<=^|[;}\n])import\s?([\w$]+)?,?(?:\*as ([\w$]+)|(\{[^}]*\}))?\s?from"(?:node:)?([a-z_0-9/]+)";/g;
  const short = ["$b", "$b0", "$b1", "$b2"].find((one) => !text.includes(one));
  const wholes = [];
  const parts = new Map();
  const rest = text.replace(imports, (whole, byDefault, all, list, name) => {
    if (!isBuiltin(`node:${name}`)) return whole;
    const module = `${short}("${isBuiltin(name) ? name : `node:${name}`}")`;
    const names =
      list
        ?.slice(1, -1)
        .split(",")
        .map((one) => one.split(" as ")) ?? [];
    for (const [one, as] of [["default", byDefault], ["default", all], ...names]) {
      if (one !== "default")
        parts.set(module, [...(parts.get(module) ?? []), as ? `${one}:${as}` : one]);
      else if (as !== undefined) wholes.push(`${as}=${module}`);
    }
    return "";
  });
  const bound = [...wholes, ...[...parts].map(([module, names]) => `{${names}}=${module}`)];
  if (bound.length === 0) return text;
  if (bound.length > 1) return `const ${short}=process.getBuiltinModule,${bound};${rest}`;
  return `const ${bound[0].replace(short, "process.getBuiltinModule")};${rest}`;
}
