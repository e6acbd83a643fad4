import { attempts } from "./attempts.ts";
import { audit } from "./audit.ts";
import { issues } from "./issues.ts";
import { system } from "./system.ts";
import { templates } from "./templates.ts";
import { webhooks } from "./webhooks.ts";
import { workspaces } from "./workspaces.ts";

/** The whole HTTP API. */
export const api = { system, issues, attempts, templates, audit, workspaces, webhooks };

export type Api = typeof api;
