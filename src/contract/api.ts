import { attempts } from "./attempts.ts";
import { audit } from "./audit.ts";
import { config } from "./config.ts";
import { git } from "./git.ts";
import { issues } from "./issues.ts";
import { models } from "./models.ts";
import { secrets } from "./secrets.ts";
import { key } from "./secrets-key.ts";
import { system } from "./system.ts";
import { templates } from "./templates.ts";
import { usage } from "./usage.ts";
import { webhooks } from "./webhooks.ts";
import { workspaces } from "./workspaces.ts";

/** The whole HTTP API. */
export const api = {
  system,
  issues,
  attempts,
  config,
  secrets,
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
