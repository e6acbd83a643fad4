import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { stripTypeScriptTypes } from "node:module";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import type { Context, Middleware } from "koa";
import { SymphonyError } from "../core/model/errors.ts";
import { moduleFile } from "../core/package.ts";

/** The modules of the page: its own, and the libraries that it uses, from this package alone. */
export const webPath = "/web/:file";

/** Languages that the page colours; each is a module that is loaded when a file of it is shown. */
const highlighted = [
  ...["bash", "c", "css", "docker", "go", "html", "java", "js", "json", "lua", "make", "md"],
  ...["pl", "py", "rs", "sql", "toml", "ts", "xml", "yaml"],
];

/** Names in imports, and the address that each has in the page. */
const libraries: Readonly<Record<string, string>> = {
  preact: "/web/preact.js",
  "preact/hooks": "/web/preact-hooks.js",
  htm: "/web/htm.js",
  "htm/preact": "/web/htm-preact.js",
  "@speed-highlight/core/tokenize": "/web/tokenize.js",
  ...Object.fromEntries(
    highlighted.map((name) => [
      `@speed-highlight/core/languages/${name}.js`,
      `/web/language-${name}.js`,
    ]),
  ),
};

/** What the page's modules mean by those names. Byte for byte what the policy of the page allows. */
export const importMap = JSON.stringify({ imports: libraries });

/** In a checkout the sources, of which the types are left out here; else what was built of them. */
const main = fileURLToPath(moduleFile("web/main"));
const isCheckout = main.endsWith(".ts");
export const entry = `/web/${basename(main)}`;
export const style = "/web/style.css";

const ownName = isCheckout ? /^(?:[a-z-]+\.ts|style\.css)$/ : /^(?:[\w-]+\.js|style\.css)$/;

interface Module {
  readonly body: string;
  /** The file as the build compressed it; null: it is not compressed. */
  readonly zipped: Buffer | null;
  readonly tag: string;
}

/** Each is read once: the files do not change while a server runs. */
const modules = new Map<string, Promise<Module | null>>();

export const webModule: Middleware = async (ctx) => {
  const { params } = ctx as Context & { params: Readonly<Record<string, string>> };
  const name = params["file"] ?? "";
  const own = modules.get(name) ?? read(name);
  modules.set(name, own);
  const found = await own;
  if (found === null) {
    modules.delete(name);
    throw new SymphonyError("not_found", `there is nothing at ${ctx.path.slice(0, 200)}`);
  }
  const { body, zipped, tag } = found;
  const isZipped = zipped !== null && ctx.acceptsEncodings("gzip", "identity") === "gzip";
  ctx.set("Content-Type", `text/${name.endsWith(".css") ? "css" : "javascript"}; charset=utf-8`);
  ctx.set("Cache-Control", "no-cache");
  ctx.set("Vary", "Accept-Encoding");
  ctx.set("ETag", tag);
  if (isZipped) ctx.set("Content-Encoding", "gzip");
  ctx.body = isZipped ? zipped : body;
  ctx.status = 200;
  if (ctx.fresh) {
    ctx.status = 304;
    ctx.body = null;
  }
};

async function read(name: string): Promise<Module | null> {
  const file = fileOf(name);
  if (file === null) return null;
  const zipped = existsSync(`${file}.gz`) ? await readFile(`${file}.gz`) : null;
  if (zipped === null && !existsSync(file)) return null;
  const text = zipped === null ? await readFile(file, "utf8") : gunzipSync(zipped).toString("utf8");
  const body = name.endsWith(".ts") ? withoutTypes(text) : text;
  const tag = `W/"${createHash("sha256").update(body).digest("base64url").slice(0, 22)}"`;
  return { body, zipped, tag };
}

function fileOf(name: string): string | null {
  const library = Object.keys(libraries).find((one) => libraries[one] === `/web/${name}`);
  if (library !== undefined) return fileURLToPath(import.meta.resolve(library));
  return ownName.test(name) ? join(dirname(main), name) : null;
}

/** Node's own removal of types warns that it is experimental, which is of no use to the operator of a checkout. */
function withoutTypes(text: string): string {
  const warn = process.emitWarning;
  process.emitWarning = () => {};
  try {
    return stripTypeScriptTypes(text);
  } finally {
    process.emitWarning = warn;
  }
}
