import type { Clock } from "./clock.ts";
import type { Core } from "./core.ts";
import { messageOf, SymphonyError } from "./model/errors.ts";
import { sameText } from "./text/text.ts";
import { namedSecret, webhookSecret } from "./tracker/linear/settings.ts";

type Deps = Pick<Core, "tracker" | "config" | "secrets" | "bus" | "log" | "history"> & {
  readonly clock: Pick<Clock, "wall">;
  /** The value behind `$NAME`. */
  lookup(name: string): string | undefined;
};

/** Registers `url` with the tracker and keeps the signing secret that results. Says how it went, and never rejects. */
export async function registerWebhook(parts: Deps, url: string): Promise<void> {
  const { log } = parts;
  try {
    await register(parts, url);
  } catch (error) {
    const reason = messageOf(error);
    const refused = error instanceof SymphonyError && error.details["status"] === 403;
    const hint = refused
      ? "webhooks need an administrator's API key; set this one up by hand in Linear: Settings, API, Webhooks"
      : "the server polls meanwhile; the next start tries again";
    log.warn("webhook not registered", { url, reason, hint });
  }
}

async function register(parts: Deps, url: string): Promise<void> {
  const { config, log, lookup } = parts;
  const tracker = parts.tracker();
  if (!tracker.registerWebhook) {
    log.warn("webhook not registered", { url, reason: `the ${tracker.kind} tracker has none` });
    return;
  }
  const written = config.current.config.tracker.provider["webhook_secret"];
  const name = namedSecret(written);
  const secret = webhookSecret(written, lookup);
  const order = { url, secret, secretIsFixed: name === null };
  const made = await tracker.registerWebhook(order);
  if (name !== null && (secret === null || !sameText(made.secret, secret))) {
    await keep(parts, name, made.secret);
  }
  log.info("webhook registered", { url, outcome: made.outcome });
  audit(parts, "webhooks.register", url, { outcome: made.outcome });
}

async function keep(parts: Deps, name: string, value: string): Promise<void> {
  const { secrets, bus, config, log } = parts;
  const { created } = await secrets.put(name, value);
  const change = created ? "created" : "replaced";
  audit(parts, "secrets.put", name, { change });
  log.info("webhook secret stored", { secret: name });
  const message = `secret ${name} ${change}`;
  bus.publish({ type: "secret.changed", message, data: { key: name, change } });
  await config.reload();
}

function audit(parts: Deps, action: string, target: string, detail: Record<string, unknown>): void {
  const at = parts.clock.wall();
  parts.history.audit({ at, actor: "orchestrator", action, target, outcome: "ok", detail });
}
