import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import type { Context, Middleware } from "koa";
import { paths } from "../contract/paths.ts";
import { SymphonyError } from "../core/model/errors.ts";
import { builtFile } from "../core/package.ts";

/** The path of the page's own files: scripts and style may come only from here. */
export const docsAssetPath = "/api/docs/assets/:version/:file";

/** Names in the page, and the package's file for each. */
const assets = new Map([
  ["swagger-ui.min.css", { file: "swagger-ui.css", type: "text/css; charset=utf-8" }],
  ["swagger-ui-bundle.js", { file: "swagger-ui-bundle.js", type: "text/javascript" }],
  [
    "swagger-ui-standalone-preset.js",
    { file: "swagger-ui-standalone-preset.js", type: "text/javascript" },
  ],
]);

/** Hash of the page's only style attribute, which a nonce cannot cover. */
const inlineStyle = "'unsafe-hashes' 'sha256-ezdv1bOGcoOD7FKudKN0Y2Mb763O6qVtM8LT2mtanIU='";

/**
 * What the package's page lacks: the width of a phone, and the dark look of Swagger UI, which it only has with a switch that
 * is not shown here.
 */
const head = `<meta name="viewport" content="width=device-width, initial-scale=1">
  <script>if (matchMedia("(prefers-color-scheme: dark)").matches) document.documentElement.classList.add("dark-mode");</script>
  <style>html.dark-mode body { background: #1c2022; }
    @media (max-width: 700px) { .swagger-ui .wrapper { padding: 0 8px; } .swagger-ui .opblock-summary-path { word-break: break-word; } }</style>
`;

interface DocsPage {
  readonly html: string;
  /** The `Content-Security-Policy` of the page: this server only. */
  readonly policy: string;
}

let template: Promise<string> | null = null;

/** Swagger UI for this server's own document, with a nonce for one response. */
export async function docsPage(): Promise<DocsPage> {
  template ??= rendered();
  const nonce = randomBytes(16).toString("base64");
  const html = (await template).replaceAll(/<(script|style)\b/g, `<$1 nonce="${nonce}"`);
  const policy = [
    "default-src 'none'",
    `script-src 'self' 'nonce-${nonce}'`,
    `style-src 'self' 'nonce-${nonce}' ${inlineStyle}`,
    "img-src 'self' data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join("; ");
  return { html, policy };
}

/** Loaded at the first request: the server's start does not wait for a template engine. */
async function rendered(): Promise<string> {
  const { koaSwagger } = await import("koa2-swagger-ui");
  const page = koaSwagger({
    title: "symphony API",
    routePrefix: false,
    hideTopbar: true,
    favicon: "data:,",
    swaggerCdnUrl: "/api/docs/assets",
    swaggerVersion: "v",
    swaggerOptions: {
      url: paths.system.openapi.path,
      validatorUrl: null,
      layout: "StandaloneLayout",
    },
  });
  const answer = { body: "" };
  await page(answer as unknown as Context, async () => {});
  return answer.body
    .replace(/<link [^>]*fonts\.googleapis\.com[^>]*>/, "")
    .replace("</head>", `${head}</head>`);
}

/** One of the page's files; any other name is `not_found`. */
export const docsAsset: Middleware = async (ctx) => {
  const { params } = ctx as Context & { params: Readonly<Record<string, string>> };
  const asset = assets.get(params["file"] ?? "");
  if (!asset) throw new SymphonyError("not_found", `there is nothing at ${ctx.path.slice(0, 200)}`);
  ctx.body = await readFile(join(assetDir(), asset.file));
  ctx.set("Content-Type", asset.type);
  ctx.set("Cache-Control", "private, max-age=3600");
};

/** Next to the built code; in a checkout, the package they are copied from. */
function assetDir(): string {
  return (
    builtFile("swagger-ui") ??
    dirname(createRequire(import.meta.url).resolve("swagger-ui-dist/package.json"))
  );
}
