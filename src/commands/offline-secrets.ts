import { join } from "node:path";
import { paths } from "../contract/paths.ts";
import { systemClock } from "../core/clock.ts";
import { loadSettings } from "../core/config/chain.ts";
import { type Resolved, resolveConfig } from "../core/config/resolve.ts";
import { readOverlay } from "../core/config/service.ts";
import { forgeKinds } from "../core/delivery/kinds.ts";
import { sections } from "../core/kinds.ts";
import { SymphonyError } from "../core/model/errors.ts";
import { resetSecrets } from "../core/secrets/rotation.ts";
import { openSecrets, type Secrets } from "../core/secrets/secrets.ts";
import { type AuditKeys, beginSealed, noAuditKeys } from "../core/store/audit.ts";
import { type AuditVerdict, verifyAudit } from "../core/store/audit-verify.ts";
import { openHistory } from "../core/store/history.ts";
import { lockDataDir } from "../core/store/lock.ts";
import { createRedactor } from "../core/text/redact.ts";
import { trackerKinds } from "../core/tracker/kinds.ts";
import type { SignedWebhook } from "../core/tracker/tracker.ts";
import type { SecretsAccess } from "./access.ts";

type Env = Readonly<Record<string, string | undefined>>;

/**
 * Opens the project's secrets without a server, for a server that cannot start before it has its key. Holds the data
 * directory's lock while open. Rejects with `data_dir_locked`, and for a key that must not be used as a server does.
 */
export async function openOfflineSecrets(dataDir: string, env: Env): Promise<SecretsAccess> {
  const lock = await lockDataDir(dataDir);
  try {
    const redactor = createRedactor();
    const secrets = await openSecrets({ dir: dataDir, env, clock: systemClock, redactor });
    await secrets.settle();
    const audit = (action: string, about: About) => record(dataDir, action, { ...about, secrets });
    return {
      list: async () => secrets.names(),
      async put(name, value) {
        const { key, updatedAt } = await secrets.put(name, value);
        await audit("secrets.put", { target: name });
        return { key, updated_at: new Date(updatedAt).toISOString() };
      },
      async remove(name) {
        await secrets.remove(name);
        await audit("secrets.remove", { target: name });
      },
      async rotate() {
        const { kid, previousKid, secrets: count, at } = await secrets.rotate();
        const ids = { key_id: kid, previous_key_id: previousKid, secrets: count };
        await audit("key.rotate", { detail: ids });
        return { ...ids, rotated_at: new Date(at).toISOString() };
      },
      close: () => lock.release(),
    };
  } catch (error) {
    await lock.release();
    throw error;
  }
}

/** Moves the store aside; returns the new names of its files. Rejects with `data_dir_locked` while a server runs. */
export async function resetOffline(dataDir: string): Promise<readonly string[]> {
  const lock = await lockDataDir(dataDir);
  try {
    const moved = await resetSecrets(dataDir, systemClock.wall());
    if (moved.length > 0) await record(dataDir, "key.reset", { detail: { moved } });
    return moved;
  } finally {
    await lock.release();
  }
}

interface About {
  readonly target?: string | null;
  readonly detail?: Readonly<Record<string, unknown>>;
}

/** Writes to the same log as a server of this directory. */
export async function record(
  dataDir: string,
  action: string,
  { target = null, detail = {}, secrets }: About & { readonly secrets?: Secrets },
): Promise<void> {
  const history = openHistory(join(dataDir, "history.db"), secrets?.auditKeys);
  try {
    await secrets?.sealAudit(() => beginSealed(history, systemClock.wall()));
    history.audit({ at: systemClock.wall(), actor: "cli", action, target, outcome: "ok", detail });
  } finally {
    history.close();
  }
}

interface Verified {
  readonly verdict: AuditVerdict;
  /** Why there is no key; null with one. */
  readonly keyless: string | null;
}

/** Checks the files of the audit log, with the key of the project if it can be read. */
export async function verifyOffline(dataDir: string, env: Env): Promise<Verified> {
  const found = await keysIn(dataDir, env);
  const verdict = verifyAudit(dataDir, found.keys);
  if (verdict.fault === null) return { verdict, keyless: found.why };
  // A key rotation during the check looks like a forged entry; read the keys again to tell the two apart.
  const again = await keysIn(dataDir, env);
  return { verdict: verifyAudit(dataDir, again.keys), keyless: again.why };
}

/** Without the key the chain can still be verified. */
async function keysIn(dir: string, env: Env): Promise<{ keys: AuditKeys; why: string | null }> {
  try {
    const redactor = createRedactor();
    const { auditKeys } = await openSecrets({ dir, env, clock: systemClock, redactor });
    return { keys: auditKeys, why: auditKeys.current() === null ? "there is no key" : null };
  } catch (error) {
    if (!(error instanceof SymphonyError)) throw error;
    return { keys: noAuditKeys, why: error.message };
  }
}

type WebhookName = keyof typeof paths.webhooks;

export interface Signer {
  /** The service whose delivery the sample imitates. */
  readonly kind: WebhookName;
  readonly webhook: SignedWebhook;
  /** What it would send for a changed issue; null: about none. */
  sample(about: SampleIssue | null): Sample;
  /** Whether a sample about an issue is about its pull request. */
  readonly isOfPullRequest: boolean;
  /** The kind of the tracker, where it sends nothing and no service was named. */
  readonly silent: string | null;
  /** Signs as the service does; null without a secret. */
  readonly sign: ((body: string) => string) | null;
  /** The key that names the secret. */
  readonly key: string;
  /** Why the stored secrets could not be read; null when they could, or there are none. */
  readonly unread: SymphonyError | null;
}

interface SampleIssue {
  readonly id: string;
  readonly identifier: string;
  /** The address of its pull request. */
  readonly pullRequest: string | null;
}

interface Sample {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: unknown;
}

/**
 * Signs with the secret that a server of this project would use: from its stored secrets, which are opened only for
 * reading, else from `env`. Without `from` it is the tracker in use, else the first one: the server accepts deliveries
 * for every tracker kind.
 */
export async function signerFor(
  project: { readonly workflowPath: string; readonly dataDir: string },
  env: Env,
  from: WebhookName | undefined,
): Promise<Signer> {
  const settings = await loadSettings(project.workflowPath);
  const overlay = await readOverlay(project.dataDir);
  const { written } = resolveConfig({ ...settings, env, overlay, flags: {} }, sections);
  const stored = await storedSecrets(project.dataDir, env);
  const lookup = (name: string) => stored.lookup(name) ?? env[name];
  const { secret, ...chosen } = senderOf(written, from, lookup);
  const { webhook } = chosen;
  return {
    ...chosen,
    sign: secret === null ? null : (body) => webhook.sign(body, secret),
    unread: stored.unread,
  };
}

type Chosen = Omit<Signer, "sign" | "unread"> & { readonly secret: string | null };

function senderOf(
  { tracker, delivery }: Resolved["written"],
  from: WebhookName | undefined,
  lookup: (name: string) => string | undefined,
): Chosen {
  const own = isWebhookName(tracker.kind) ? tracker.kind : null;
  const wanted = from ?? own;
  const site = forgeKinds.find(({ kind }) => kind === wanted);
  if (wanted !== null && site !== undefined) {
    const { webhook, kind } = site;
    const isOfPullRequest = own !== wanted;
    return {
      ...{ kind: wanted, webhook, isOfPullRequest, silent: null },
      key: `delivery.${kind}.webhook_secret`,
      secret: webhook.secret(delivery.github, lookup),
      sample: (about) => webhook.sample(about && (isOfPullRequest ? about : { issueId: about.id })),
    };
  }
  const found = trackerKinds.flatMap(({ kind, webhook }) =>
    webhook !== null && isWebhookName(kind) ? [{ kind, webhook }] : [],
  );
  const chosen = found.find(({ kind }) => kind === wanted) ?? found[0];
  if (!chosen) throw new SymphonyError("webhook_not_configured", "no tracker posts to a server");
  const { webhook } = chosen;
  return {
    ...{ ...chosen, isOfPullRequest: false, silent: wanted === null ? tracker.kind : null },
    key: "tracker.provider.webhook_secret",
    secret: webhook.secret(tracker.provider, lookup),
    sample: (about) => ({
      headers: {},
      body: webhook.sample(about && { id: about.id, identifier: about.identifier }, Date.now()),
    }),
  };
}

function isWebhookName(kind: string): kind is WebhookName {
  return Object.hasOwn(paths.webhooks, kind);
}

async function storedSecrets(dir: string, env: Env) {
  try {
    const redactor = createRedactor();
    const secrets = await openSecrets({ dir, env, clock: systemClock, redactor });
    return { lookup: (name: string) => secrets.lookup(name), unread: null };
  } catch (error) {
    if (!(error instanceof SymphonyError)) throw error;
    return { lookup: () => undefined, unread: error };
  }
}
