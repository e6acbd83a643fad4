import type { Clock } from "./clock.ts";
import type { Core } from "./core.ts";
import { messageOf, SymphonyError } from "./model/errors.ts";
import { sameText } from "./text/text.ts";
import type { TrackerWebhook } from "./tracker/tracker.ts";

type Deps = Pick<Core, "kinds" | "tracker" | "config" | "secrets" | "bus" | "log" | "history"> & {
  readonly clock: Pick<Clock, "wall">;
  /** The value behind `$NAME`. */
  lookup(name: string): string | undefined;
};

/**
 * Registers the address with the tracker and stores the resulting signing secret; an address
 * without a path gets the path of the tracker's own route. Logs the result, and never rejects.
 */
export async function registerWebhook(deps: Deps, address: string): Promise<void> {
  const { log, config } = deps;
  const url = withPath(address, config.current.config.tracker.kind);
  try {
    await register(deps, url);
  } catch (error) {
    const reason = messageOf(error);
    const refused = error instanceof SymphonyError && error.details["status"] === 403;
    const byHand = refused ? webhookOf(deps)?.byHand : undefined;
    const hint = byHand ?? "the server polls meanwhile; the next start tries again";
    log.warn("webhook not registered", { url, reason, hint });
  }
}

async function register(deps: Deps, url: string): Promise<void> {
  const { config, log, lookup } = deps;
  const tracker = deps.tracker();
  const webhook = webhookOf(deps);
  if (!tracker.registerWebhook || webhook === null) {
    log.warn("webhook not registered", {
      url,
      reason: `the ${tracker.kind} tracker has no webhooks`,
    });
    return;
  }
  const { provider } = config.current.config.tracker;
  const name = webhook.secretName(provider);
  const secret = webhook.secret(provider, lookup);
  const order = { url, secret, secretIsFixed: name === null };
  const made = await tracker.registerWebhook(order);
  if (name !== null && (secret === null || !sameText(made.secret, secret))) {
    await keep(deps, name, made.secret);
  }
  log.info("webhook registered", { url, outcome: made.outcome });
  audit(deps, "webhooks.register", url, { outcome: made.outcome });
}

/** The route has the name of the tracker's kind. */
function withPath(address: string, kind: string): string {
  const url = new URL(address);
  if (url.pathname === "/") url.pathname = `/webhooks/${kind}`;
  return url.href;
}

/** null if the tracker in use posts no webhooks. */
function webhookOf({ kinds, config }: Deps): TrackerWebhook | null {
  const { kind } = config.current.config.tracker;
  return kinds.trackers.find((row) => row.kind === kind)?.webhook ?? null;
}

async function keep(deps: Deps, name: string, value: string): Promise<void> {
  const { secrets, bus, config, log } = deps;
  const { created } = await secrets.put(name, value);
  const change = created ? "created" : "replaced";
  audit(deps, "secrets.put", name, { change });
  log.info("webhook secret stored", { secret: name });
  const message = `secret ${name} ${change}`;
  bus.publish({ type: "secret.changed", message, data: { key: name, change } });
  await config.reload();
}

function audit(deps: Deps, action: string, target: string, detail: Record<string, unknown>): void {
  const at = deps.clock.wall();
  deps.history.audit({ at, actor: "orchestrator", action, target, outcome: "ok", detail });
}
