import type { CommentSteering } from "../comments/steering.ts";
import type { RealParts } from "../ports.ts";
import type { Redactor } from "../redact.ts";
import { type Deliveries, openDeliveries } from "../store/deliveries.ts";
import { WebhookInbox } from "./inbox.ts";
import { webhookSecret } from "./secret.ts";

interface InboxEdges extends Pick<RealParts, "clock" | "log" | "bus" | "meter"> {
  readonly dataDir: string;
  readonly redactor: Pick<Redactor, "add">;
  readonly config: { readonly current: Pick<RealParts["config"]["current"], "config"> };
  readonly store: Pick<RealParts["store"], "history">;
  orchestrator(): Pick<ReturnType<RealParts["orchestrator"]>, "post">;
  readonly comments: Pick<CommentSteering, "heard">;
  /** The value behind `$NAME`. */
  lookup(name: string): string | undefined;
}

/** The inbox over `webhooks.db`, which is made once there is a secret to check deliveries with. */
export function openInbox(edges: InboxEdges): WebhookInbox {
  const { dataDir, clock, log, bus, config, store, redactor, lookup } = edges;
  let opened: Deliveries | null = null;
  const deliveries = () => {
    opened ??= openDeliveries(dataDir);
    return opened;
  };
  let known: string | null = null;
  const secret = () => {
    const { provider } = config.current.config.tracker;
    const value = webhookSecret(provider["webhook_secret"], lookup);
    if (value !== null && value !== known) redactor.add(value);
    known = value;
    return value;
  };
  // Made before the first delivery, which is to be answered at once.
  if (secret() !== null) deliveries();
  return new WebhookInbox({
    clock,
    log,
    meter: edges.meter,
    secret,
    deliveries,
    publish: (event) => bus.publish(event),
    audit: (entries) => store.history.auditAll(entries),
    hint: (issueId) => edges.orchestrator().post({ type: "issue.hinted", issueId }),
    comment: (id, issueId) => void edges.comments.heard(id, issueId),
    close: () => opened?.close(),
  });
}
