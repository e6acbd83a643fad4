import { createHmac } from "node:crypto";
import type { Clock } from "../clock.ts";
import type { NotifyRule } from "../config/notify.ts";
import type { Redactor } from "../text/redact.ts";
import { discordBody } from "./discord.ts";
import { documentOf, type Message, wordingOf } from "./message.ts";
import { type ProgramDeps, runReceiver, showOnDesktop } from "./programs.ts";
import { addressFault, failedBy, post, type Sent, secretParts } from "./sending.ts";
import { slackBody } from "./slack.ts";

export interface ReceiverDeps
  extends Pick<ProgramDeps, "env" | "workflowPath" | "runId" | "platform"> {
  readonly clock: Clock;
  readonly redactor: Pick<Redactor, "add" | "redact">;
  /** The value behind `$NAME`. */
  lookup(name: string): string | undefined;
  /** Address of the page; null: none. */
  base(): string | null;
  secretNames(): readonly string[];
}

/** For one try. */
const timeoutMs = 10_000;

/** The value of a secret of a receiver; from then on it is redacted. null: it is not set. */
export function secretOf(
  name: string,
  { lookup, redactor }: Pick<ReceiverDeps, "lookup"> & { readonly redactor: Pick<Redactor, "add"> },
): string | null {
  const value = lookup(name)?.trim() ?? "";
  if (value === "") return null;
  redactor.add(value);
  for (const part of secretParts(value)) redactor.add(part);
  return value;
}

/** Equal for two rules that reach the same receiver. */
export function identityOf(
  { to, urlSecret, command }: NotifyRule,
  { lookup }: Pick<ReceiverDeps, "lookup">,
): string {
  if (urlSecret === null) return JSON.stringify([to, command]);
  return JSON.stringify([to, lookup(urlSecret)?.trim() || `$${urlSecret}`]);
}

/** Makes one try. Its words hold no secret. Never rejects. */
export async function send(
  rule: NotifyRule,
  message: Message,
  { deps, signal }: { readonly deps: ReceiverDeps; readonly signal: AbortSignal },
): Promise<Sent> {
  const sent = await sendTo(rule, message, { deps, signal });
  return { ...sent, reason: deps.redactor.redact(sent.reason) };
}

function sendTo(
  rule: NotifyRule,
  message: Message,
  { deps, signal }: { readonly deps: ReceiverDeps; readonly signal: AbortSignal },
): Promise<Sent> | Sent {
  const { to, urlSecret } = rule;
  const { redactor, base } = deps;
  const fault = settingFault(rule, deps);
  if (fault !== null) return failedBy("not_configured", fault, { isFinal: true });
  const url = urlSecret === null ? null : secretOf(urlSecret, deps);
  const redact = (text: string) => redactor.redact(text);
  const wording = wordingOf(message, { detail: rule.detail, base: base(), redact });
  const limits = { timeoutMs, signal };
  const programs = { ...deps, ...limits, secretNames: deps.secretNames() };
  switch (to) {
    case "desktop":
      return showOnDesktop(wording, programs);
    case "command":
      return runReceiver(
        rule.command,
        { wording, document: documentOf(message, wording) },
        programs,
      );
    case "slack":
    case "discord": {
      const body = to === "slack" ? slackBody(wording) : discordBody(wording);
      const own = { url: url ?? "", body: JSON.stringify(body), headers: {}, isChat: true };
      return post({ ...own, clock: deps.clock, ...limits });
    }
    case "webhook": {
      const body = JSON.stringify(documentOf(message, wording));
      const headers = signed(rule, { body, id: message.id }, deps);
      const own = { url: url ?? "", body, headers, isChat: false };
      return post({ ...own, clock: deps.clock, ...limits });
    }
  }
}

/** What of its settings keeps a rule from being sent: a secret that is not set, an address that cannot be used; null: nothing. */
export function settingFault(
  { urlSecret, signingSecret }: NotifyRule,
  deps: Pick<ReceiverDeps, "lookup" | "redactor">,
): string | null {
  for (const name of [urlSecret, signingSecret]) {
    if (name === null) continue;
    const value = secretOf(name, deps);
    if (value === null) return `${name} is not set`;
    const fault = name === urlSecret ? addressFault(value) : null;
    if (fault !== null) return `${name} ${fault}`;
  }
  return null;
}

/** The id is the same in each try, the time is that of the try; the signature covers time and body. */
function signed(
  { signingSecret }: NotifyRule,
  { body, id }: { readonly body: string; readonly id: string },
  deps: ReceiverDeps,
): Readonly<Record<string, string>> {
  const timestamp = String(Math.floor(deps.clock.wall() / 1_000));
  const named = { "x-symphony-notice-id": id, "x-symphony-timestamp": timestamp };
  if (signingSecret === null) return named;
  const secret = secretOf(signingSecret, deps) ?? "";
  const mac = createHmac("sha256", secret).update(`${timestamp}.${body}`).digest("hex");
  return { ...named, "x-symphony-signature": `sha256=${mac}` };
}
