// The HTTP API as data: every route once, with its schemas and examples.

import { attempts } from "./attempts.ts";
import { audit } from "./audit.ts";
import { config } from "./config.ts";
import { issues } from "./issues.ts";
import { notices } from "./notices.ts";
import { key, secrets } from "./secrets.ts";
import { models, system, usage } from "./system.ts";
import { templates } from "./templates.ts";
import { tokens } from "./tokens.ts";
import { webhooks } from "./webhooks.ts";
import { workers } from "./workers.ts";
import { git, workspaces } from "./workspaces.ts";

/** The whole HTTP API. */
export const api = {
  system,
  issues,
  attempts,
  config,
  secrets,
  notices,
  workers,
  tokens,
  models,
  git,
  key,
  templates,
  workspaces,
  usage,
  audit,
  webhooks,
};

export type Api = typeof api;
