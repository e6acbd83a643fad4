import { createHash } from "node:crypto";
import { z } from "zod";
import { wholeText } from "../../answers.ts";
import type { Clock } from "../../clock.ts";
import { messageOf, SymphonyError } from "../../model/errors.ts";
import { outbound } from "../../outbound.ts";
import { parseJson } from "../../text/text.ts";
import type { CredentialKeeper, Lookup } from "../tracker.ts";
import { type OAuthSettings, requireReachable } from "./settings.ts";

export interface OAuthDeps {
  readonly clock: Clock;
  readonly lookup: Lookup;
  /** Keeps replaced tokens. Omitted: refresh tokens are not used, because another process would lose its own. */
  readonly keeper?: CredentialKeeper | undefined;
}

interface Access {
  readonly token: string;
  /** Ms since the epoch. */
  readonly until: number;
  /** Names the app and the refresh token that it came with, for a token that is stored. */
  readonly of?: string | undefined;
}

/** https://linear.app/developers/oauth-2-0-authentication: a token lives 24 hours, an app's own one 30 days. */
const tokenAnswer = z.object({
  access_token: z.string().regex(/^[\x21-\x7e]{1,4096}$/),
  expires_in: z.number().positive().default(86_399),
  refresh_token: z
    .string()
    .regex(/^[\x21-\x7e]{1,4096}$/)
    .optional(),
});
const Access = z.object({ token: z.string(), until: z.number(), of: z.string().optional() });

const timeoutMs = 30_000;
/** A token is renewed so long before its end, or after four fifths of a shorter life. */
const marginMs = 10 * 60_000;
const youngMs = 60_000;

/**
 * The tokens of an app. An access token is used until shortly before its end, also over restarts; a refresh token, which
 * Linear replaces at each use, is on disk before the access token that came with it is used.
 */
export class LinearTokens {
  readonly #settings: OAuthSettings;
  readonly #deps: OAuthDeps;
  #access: Access | null = null;
  #renewing: Promise<Access> | null = null;
  #renewedAt = Number.NEGATIVE_INFINITY;
  /** What the disk refused: it is the only copy. */
  #unsaved: readonly (readonly [string, string])[] = [];
  #saving: Promise<void> = Promise.resolve();

  constructor(settings: OAuthSettings, deps: OAuthDeps) {
    this.#settings = settings;
    this.#deps = deps;
  }

  /** The `Authorization` header for a request that starts now. Rejects with a tracker's code. */
  readonly authorization = async (): Promise<string> => {
    const wall = this.#deps.clock.wall();
    if (this.#unsaved.length > 0) await this.#save(this.#unsaved);
    this.#access ??= this.#stored();
    if (this.#access !== null && wall < this.#access.until) return `Bearer ${this.#access.token}`;
    this.#renewing ??= this.#renew()
      .then((access) => {
        // Before those who wait continue: one of them would ask for another.
        this.#access = access;
        return access;
      })
      .finally(() => {
        this.#renewing = null;
      });
    return `Bearer ${(await this.#renewing).token}`;
  };

  /** After a 401: true if another token is worth one more try. A new token that is refused means that the app is. */
  readonly recover = (authorization: string): boolean => {
    if (this.#access === null || `Bearer ${this.#access.token}` !== authorization) return true;
    // Another request has asked for a new one, which is not in use yet.
    if (this.#renewing !== null) return true;
    if (this.#deps.clock.now() < this.#renewedAt + youngMs) return false;
    this.#access = { ...this.#access, until: 0 };
    return true;
  };

  #accessName(): string | null {
    const { refreshName } = this.#settings;
    return refreshName === null ? null : `${refreshName}_ACCESS`;
  }

  #stored(): Access | null {
    const name = this.#accessName();
    const text = name === null ? undefined : this.#deps.lookup(name);
    const parsed = Access.safeParse(parseJson(text ?? ""));
    const { refreshName } = this.#settings;
    const refresh = refreshName === null ? "" : (this.#deps.lookup(refreshName)?.trim() ?? "");
    // It is of another app, or the operator has stored another refresh token since.
    if (!parsed.success || parsed.data.of !== this.#markOf(refresh)) return null;
    this.#deps.keeper?.learn(parsed.data.token);
    return parsed.data;
  }

  #markOf(refresh: string): string {
    const { clientId } = this.#settings;
    return createHash("sha256")
      .update(JSON.stringify([clientId, refresh]))
      .digest("hex");
  }

  async #renew(): Promise<Access> {
    const { refreshName } = this.#settings;
    if (refreshName === null) return this.#ask(this.#form("client_credentials", {}));
    const { lookup, keeper } = this.#deps;
    if (keeper === undefined) {
      const message = "Linear's token of the app has ended, or there was none yet";
      throw new SymphonyError("missing_tracker_secret", message, {
        details: {
          path: "tracker.provider.oauth.refresh_token",
          renewedBy: "symphony serve",
          mend: `authorize the app again (docs/trackers/linear-agent.md), then: symphony secrets add ${refreshName}`,
        },
        hint: "symphony serve renews it, and no other process may: start it, then try again",
      });
    }
    const own = this.#unsaved.find(([name]) => name === refreshName)?.[1] ?? lookup(refreshName);
    const refresh = own?.trim() ?? "";
    if (refresh === "") throw noRefreshToken(refreshName);
    try {
      return await this.#ask(this.#form("refresh_token", { refresh_token: refresh }), refresh);
    } catch (error) {
      // An instance that was replaced by a change of the configuration may have used it first.
      const now = lookup(refreshName)?.trim() ?? "";
      if (now === "" || now === refresh || this.#unsaved.length > 0) throw error;
      return this.#ask(this.#form("refresh_token", { refresh_token: now }), now);
    }
  }

  #form(grant: string, more: Readonly<Record<string, string>>): string {
    const { clientId, scope } = this.#settings;
    const form = new URLSearchParams({
      grant_type: grant,
      client_id: clientId,
      client_secret: this.#settings.clientSecret(),
      ...(grant === "client_credentials" && { scope }),
      ...more,
    });
    return form.toString();
  }

  /** `used`: the refresh token of the request. */
  async #ask(form: string, used = ""): Promise<Access> {
    const { clock, keeper } = this.#deps;
    const answer = await posted(this.#settings.tokenUrl, form);
    const lifeMs = answer.expires_in * 1_000;
    const until = clock.wall() + Math.max(lifeMs - marginMs, lifeMs * 0.8);
    const access = { token: answer.access_token, until };
    this.#renewedAt = clock.now();
    keeper?.learn(access.token);
    const [name, refreshName] = [this.#accessName(), this.#settings.refreshName];
    if (name === null || refreshName === null) return access;
    const refresh = answer.refresh_token;
    if (refresh !== undefined) keeper?.learn(refresh);
    await this.#save([
      ...(refresh === undefined ? [] : [[refreshName, refresh] as const]),
      [name, JSON.stringify({ ...access, of: this.#markOf(refresh ?? used) })],
    ]);
    return access;
  }

  /** The tokens work even if the disk refuses them; they are saved with the next request then, and never older ones after newer. */
  #save(values: readonly (readonly [string, string])[]): Promise<void> {
    if (this.#deps.keeper !== undefined) this.#unsaved = values;
    this.#saving = this.#saving.then(() => this.#keep());
    return this.#saving;
  }

  async #keep(): Promise<void> {
    const { keeper } = this.#deps;
    const values = this.#unsaved;
    if (keeper === undefined || values.length === 0) return;
    try {
      for (const [name, value] of values) await keeper.keep(name, value);
      if (this.#unsaved === values) this.#unsaved = [];
    } catch (error) {
      keeper.failed(`Linear's new tokens are not saved: ${messageOf(error)}`);
    }
  }
}

/** Nothing of the answer but the name of its error leaves this function. */
async function posted(url: string, form: string): Promise<z.output<typeof tokenAnswer>> {
  await requireReachable(url);
  const { status, text } = await answered(url, form);
  const body = parseJson(text);
  if (status === 200) {
    const parsed = tokenAnswer.safeParse(body);
    if (parsed.success) return parsed.data;
    throw new SymphonyError("tracker_response", "Linear's answer to a request for a token is none");
  }
  const named = z.object({ error: z.string().regex(/^[a-z_]{1,40}$/) }).safeParse(body);
  const why = named.success ? `: ${named.data.error}` : "";
  const message = `Linear gave the app no token (HTTP ${status}${why})`;
  const retryable = status >= 500 || status === 429;
  throw new SymphonyError("tracker_status", message, {
    details: { status, retryable },
    ...(!retryable && {
      hint: "check client_id and client_secret of tracker.provider.oauth; with a refresh token, authorize the app again and store the new one: docs/trackers/linear-agent.md",
    }),
  });
}

async function answered(url: string, form: string) {
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(new Error(`no answer in ${timeoutMs} ms`)), timeoutMs);
  try {
    const order: RequestInit = {
      method: "POST",
      headers: {
        "content-type": "application/x-www-form-urlencoded",
        accept: "application/json",
        "user-agent": "symphony",
      },
      body: form,
      redirect: "error",
      signal: late.signal,
    };
    const { status, body } = await outbound(url, order, "tracker");
    return { status, text: await wholeText(body, { host: new URL(url).host, kind: "tracker" }) };
  } catch (error) {
    const message = `Linear cannot be asked for a token: ${messageOf(error)}`;
    throw new SymphonyError("tracker_request", message, { details: { retryable: true } });
  } finally {
    clearTimeout(timer);
  }
}

function noRefreshToken(name: string): SymphonyError {
  return new SymphonyError("missing_tracker_secret", "There is no refresh token of Linear's app", {
    details: { path: "tracker.provider.oauth.refresh_token" },
    hint: `symphony secrets add ${name}`,
  });
}
