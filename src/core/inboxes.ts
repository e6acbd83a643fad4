import type { CommentSteering } from "./comments.ts";
import type { Conversations } from "./conversations.ts";
import type { CoreDeps } from "./core.ts";
import type { Deliveries } from "./delivery/delivery.ts";
import type { ForgeAnnouncement } from "./delivery/forge.ts";
import type { ForgeKind } from "./delivery/kinds.ts";
import { messageOf } from "./model/errors.ts";
import type { Redactor } from "./text/redact.ts";
import { sameText } from "./text/text.ts";
import { openDeliveries } from "./tracker/deliveries.ts";
import { type Announcement, type Sender, WebhookInbox, WebhookInboxes } from "./tracker/inbox.ts";
import type { TrackerKind } from "./tracker/kinds.ts";
import type { Tracker, TrackerWebhook } from "./tracker/tracker.ts";

export interface OpenInboxesDeps extends Pick<CoreDeps, "clock" | "log" | "bus" | "meter"> {
  readonly dataDir: string;
  /** The table of kinds: each kind that posts webhooks has an inbox, whichever is in use. */
  readonly trackers: readonly TrackerKind[];
  readonly forges: readonly ForgeKind[];
  readonly redactor: Pick<Redactor, "add">;
  readonly config: { readonly current: Pick<CoreDeps["config"]["current"], "config"> };
  readonly store: Pick<CoreDeps["store"], "history">;
  readonly deliveries: Pick<Deliveries, "hint" | "ofPullRequest" | "rulesWithId">;
  tracker(): Pick<Tracker, "aheadMs" | "idOfNode">;
  orchestrator(): Pick<ReturnType<CoreDeps["orchestrator"]>, "post">;
  readonly comments: Pick<CommentSteering, "received">;
  readonly conversations: Pick<Conversations, "received">;
  /** The value behind `$NAME`. */
  lookup(name: string): string | undefined;
}

/** The inboxes over `webhooks.db`, which is created once there is a secret to verify with. */
export function openInboxes(deps: OpenInboxesDeps): WebhookInboxes {
  const { dataDir, clock, log, meter, bus, store } = deps;
  const received = openDeliveries(dataDir);
  const open = (sender: Sender) => {
    const inbox = new WebhookInbox({
      ...{ sender, clock, log, meter },
      deliveries: received,
      publish: (event) => bus.publish(event),
      audit: (entries) => store.history.auditSoon(entries),
    });
    return [sender.kind, inbox] as const;
  };
  const ofTrackers = deps.trackers.flatMap(({ kind, webhook }) =>
    webhook === null ? [] : [open(trackerSender(kind, webhook, deps))],
  );
  const ofForges = deps.forges.map((row) => open(forgeSender(row, deps)));
  const inboxes = [...ofTrackers, ...ofForges];
  // Each secret is read now, so that it is redacted from the start.
  const configured = inboxes.filter(([, inbox]) => inbox.configured);
  // Opened before the first delivery, which must be answered without delay.
  if (configured.length > 0) received.open();
  return new WebhookInboxes(new Map(inboxes), received);
}

/** Services send again what did not arrive, for some hours; an older delivery is refused by its signed time. */
const trackerKeptMs = 24 * 3_600_000;

/** A tracker's deliveries name an issue to read; the first poll after a start reads all of them. */
function trackerSender(kind: string, webhook: TrackerWebhook, deps: OpenInboxesDeps): Sender {
  const { config, lookup } = deps;
  const { service, signature, defaultSecretName, sign } = webhook;
  return {
    ...{ kind, service, defaultSecretName, keptMs: trackerKeptMs },
    signatureHeader: signature.header,
    signatureForm: signature.form,
    secret: watched(() => webhook.secret(config.current.config.tracker.provider, lookup), deps),
    aheadMs() {
      return config.current.config.tracker.kind === kind ? (deps.tracker().aheadMs?.() ?? 0) : 0;
    },
    verify({ header, body }, secret) {
      const right = sign(body, secret);
      const given = header(signature.header)?.trim().toLowerCase();
      return given !== undefined && sameText(given, right) ? right : null;
    },
    read({ body }) {
      const event = webhook.read(body);
      const { issueId, issueIdentifier, comment, conversation = null } = event;
      return {
        ...event,
        id: null,
        // No poll reads it again.
        work: conversation && { ...conversation },
        subject: issueIdentifier ?? issueId ?? conversation?.issueId ?? null,
        act() {
          if (issueId !== null) deps.orchestrator().post({ type: "issue.hinted", issueId });
          if (comment !== null) void deps.comments.received(comment.id, comment.issueId);
        },
      };
    },
    async work({ id, issueId, promptId }) {
      const text = (value: unknown) => (typeof value === "string" ? value : null);
      if (typeof id !== "string") return;
      deps.conversations.received({ id, issueId: text(issueId), promptId: text(promptId) });
    },
  };
}

/** A site signs no time, so its deliveries are known for longer than it can send them again. */
const forgeKeptMs = 30 * 24 * 3_600_000;

/** A site's deliveries name an issue of its tracker, or a pull request to read. A start does not read it, so what a crash cut off is done afterwards. */
function forgeSender({ kind, webhook }: ForgeKind, deps: OpenInboxesDeps): Sender {
  const { config, lookup, deliveries } = deps;
  const { service, signature, defaultSecretName } = webhook;
  const current = () => config.current.config;
  const rulesOf = (repository: string) => webhook.rulesOf(repository, current(), lookup);
  const hintItem = itemHints(deps);
  return {
    ...{ kind, service, defaultSecretName, keptMs: forgeKeptMs },
    signatureHeader: signature.header,
    signatureForm: signature.form,
    secret: watched(() => webhook.secret(current().delivery.github, lookup), deps),
    verify: (post, secret) => webhook.verify(post, secret),
    read(post) {
      const { about, issue, itemOf, ...announced } = webhook.read(post);
      // The first poll after a start reads every issue, so that this needs no work of its own.
      const isOwn = current().tracker.kind === kind;
      const own = isOwn ? issue : null;
      return {
        ...announced,
        ...(own ? { issueId: own.id, issueIdentifier: null } : issueOf(about, deliveries, rulesOf)),
        sentAt: null,
        subject: subjectOf(about),
        act() {
          if (isOwn && itemOf !== null) void hintItem(itemOf);
          if (own === null) return;
          deps.orchestrator().post({ type: "issue.hinted", issueId: own.id });
          if (own.commentId !== null) void deps.comments.received(own.commentId, own.id);
        },
        work: about && { ...about },
      };
    },
    async work({ repository, repositoryId, number }) {
      if (typeof repository !== "string") return;
      const pull = typeof number === "number" ? number : null;
      const named = rulesOf(repository);
      // The name may be newer than the configuration.
      const isRenamed = named.length === 0 && typeof repositoryId === "string";
      const rules = isRenamed ? await deliveries.rulesWithId(repositoryId) : named;
      await Promise.all(rules.map(({ name }) => deliveries.hint(name, pull)));
    },
  };
}

type Item = NonNullable<ForgeAnnouncement["itemOf"]>;

/** As many issues of items are remembered; the oldest are asked for again. */
const mostItems = 2_000;

/** Each item's issue is asked for once. What cannot be found out now is read by the next poll. */
function itemHints({
  tracker,
  orchestrator,
  log,
}: Pick<OpenInboxesDeps, "tracker" | "orchestrator" | "log">): (item: Item) => Promise<void> {
  const known = new Map<string, Promise<string | null>>();
  let refusal: string | null = null;
  return async ({ node, project }) => {
    const key = `${project} ${node}`;
    try {
      const asked = known.get(key) ?? tracker().idOfNode?.(node, project) ?? Promise.resolve(null);
      known.set(key, asked);
      const [oldest] = known.keys();
      if (known.size > mostItems && oldest !== undefined) known.delete(oldest);
      const issueId = await asked;
      if (issueId === null) known.delete(key);
      else orchestrator().post({ type: "issue.hinted", issueId });
      refusal = null;
    } catch (error) {
      known.delete(key);
      const reason = messageOf(error);
      if (reason !== refusal) log.warn("the issue of a project's item was not found", { reason });
      refusal = reason;
    }
  };
}

type About = ForgeAnnouncement["about"];

function subjectOf(about: About): string | null {
  if (about === null) return null;
  return about.number === null ? about.repository : `${about.repository}#${about.number}`;
}

/** The issue whose pull request a delivery names. */
function issueOf(
  about: About,
  deliveries: OpenInboxesDeps["deliveries"],
  rulesOf: (repository: string) => readonly { readonly name: string }[],
): Pick<Announcement, "issueId" | "issueIdentifier"> {
  const number = about?.number ?? null;
  const rules = about === null || number === null ? [] : rulesOf(about.repository);
  const [found] = rules.flatMap(
    ({ name }) => (number === null ? null : deliveries.ofPullRequest(name, number)) ?? [],
  );
  const { issueId = null, issueIdentifier = null } = found ?? {};
  return { issueId, issueIdentifier };
}

/** Reads a webhook's secret; from then on it is redacted. */
function watched(
  read: () => string | null,
  { redactor }: Pick<OpenInboxesDeps, "redactor">,
): () => string | null {
  let known: string | null = null;
  return () => {
    const value = read();
    if (value !== null && value !== known) redactor.add(value);
    known = value;
    return value;
  };
}
