import { attempts } from "./attempts.ts";
import { issues } from "./issues.ts";
import { system } from "./system.ts";
import { templates } from "./templates.ts";
import { webhooks } from "./webhooks.ts";

/** The whole HTTP API. */
export const api = { system, issues, attempts, templates, webhooks };

export type Api = typeof api;
