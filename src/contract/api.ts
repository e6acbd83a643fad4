import { attempts } from "./attempts.ts";
import { config } from "./config.ts";
import { issues } from "./issues.ts";
import { secrets } from "./secrets.ts";
import { system } from "./system.ts";

/** The whole HTTP API. */
export const api = { system, issues, attempts, config, secrets };

export type Api = typeof api;
