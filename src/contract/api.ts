import { attempts } from "./attempts.ts";
import { config } from "./config.ts";
import { issues } from "./issues.ts";
import { system } from "./system.ts";

/** The whole HTTP API. */
export const api = { system, issues, attempts, config };

export type Api = typeof api;
