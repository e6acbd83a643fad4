import { createRequire } from "node:module";
import type KoaRouter from "@koa/router";

/** By `require`: as a module it imports node:http by name, which loads far more than is used. */
const { default: Router }: { readonly default: typeof KoaRouter } = createRequire(import.meta.url)(
  "@koa/router",
);

export { Router };
