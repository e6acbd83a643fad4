import type OpenAI from "openai";
import { z } from "zod";
import { tooLargeIn, wholeText } from "../../answers.ts";
import type { Clock } from "../../clock.ts";
import { SymphonyError } from "../../model/errors.ts";
import { connectionAdvice, outbound } from "../../outbound.ts";
import { type Model, modelId, type ProviderFault, providerError } from "../agent.ts";
import { addressOf, headersOf, keyNameOf } from "./client.ts";
import type { OpenaiConfig } from "./settings.ts";

interface OpenaiModelsDeps {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** The value behind `$NAME`. */
  lookup(name: string): string | undefined;
}

const timeoutMs = 10_000;
const maxModels = 5_000;

const addressHint = "check openai.base_url: it ends in /v1 with most providers";

const Listing = z.object({
  data: z.array(
    z.object({ id: z.string(), owned_by: z.unknown().optional(), created: z.unknown().optional() }),
  ),
});

/**
 * `GET models` of an OpenAI-compatible provider. Rejects with `provider_error`, which never
 * contains the key.
 */
export async function askOpenai(
  config: Pick<OpenaiConfig, "baseUrl" | "apiKey" | "apiKeyHeader" | "headers">,
  { clock, signal, lookup }: OpenaiModelsDeps,
): Promise<Model[]> {
  const { baseUrl: baseURL, query } = checkedAddress(config);
  const apiKey = keyOf(config.apiKey, lookup);
  const { default: Client } = await import("openai");
  const leaving = new AbortController();
  const leave = () => leaving.abort();
  const cancel = clock.after(timeoutMs, leave);
  signal.addEventListener("abort", leave, { once: true });
  try {
    const client = new Client({
      baseURL,
      defaultQuery: query,
      apiKey,
      adminAPIKey: null,
      organization: null,
      project: null,
      webhookSecret: null,
      maxRetries: 0,
      logLevel: "off",
      defaultHeaders: headersOf(config, apiKey, lookup),
      // A redirect is an answer, so the key is not sent on.
      fetch: (url, init) => outbound(url, { ...init, redirect: "manual" }, "list of models"),
    });
    return modelsIn(await answerOf(client, leaving.signal));
  } catch (error) {
    if (error instanceof SymphonyError) throw error;
    if (signal.aborted) throw new SymphonyError("unavailable", "the server is stopping");
    if (leaving.signal.aborted) {
      throw providerError("timeout", `${baseURL} did not answer in ${timeoutMs} ms`);
    }
    throw translated(error, baseURL);
  } finally {
    cancel();
    signal.removeEventListener("abort", leave);
  }
}

async function answerOf(client: OpenAI, signal: AbortSignal): Promise<unknown> {
  const response = await client.models.list({ signal }).asResponse();
  const from = { host: new URL(client.baseURL).host, kind: "list of models" } as const;
  const text = await wholeText(response.body, from);
  try {
    return JSON.parse(text);
  } catch {
    throw unreadable();
  }
}

/** https, or http on this machine only; no other part of it may hold a credential. */
function checkedAddress(config: Pick<OpenaiConfig, "baseUrl">) {
  try {
    return addressOf(config);
  } catch (error) {
    if (!(error instanceof SymphonyError)) throw error;
    throw providerError("invalid_url", error.message, { hint: error.hint ?? "" });
  }
}

function keyOf(written: string, lookup: OpenaiModelsDeps["lookup"]): string {
  const name = keyNameOf({ apiKey: written });
  const key = (name === null ? written : lookup(name))?.trim();
  if (key) return key;
  throw providerError("missing_key", `${name ?? "openai.api_key"} is not set`, {
    hint: `symphony secrets add ${name ?? "OPENAI_API_KEY"}`,
  });
}

function modelsIn(answer: unknown): Model[] {
  const listing = Listing.safeParse(answer);
  if (!listing.success) throw unreadable();
  return listing.data.data
    .filter(({ id }) => modelId.test(id))
    .slice(0, maxModels)
    .map(({ id, owned_by: owner, created }) => ({
      id,
      ownedBy: typeof owner === "string" && modelId.test(owner) ? owner : null,
      createdAt: isTime(created) ? created * 1_000 : null,
    }));
}

/** In seconds; local servers write 0 for an unknown time. */
function isTime(value: unknown): value is number {
  return typeof value === "number" && value > 0 && value * 1_000 <= 8.64e15;
}

function unreadable(): SymphonyError {
  return providerError("response", "the provider's answer is not a list of models", {
    hint: addressHint,
  });
}

/** Uses only the status: the provider's own text may repeat the key. */
function translated(error: unknown, baseUrl: string): SymphonyError {
  const status = error instanceof Error && "status" in error ? error.status : undefined;
  const inner = error instanceof Error ? error.cause : undefined;
  const large = tooLargeIn(error);
  if (large !== null) return providerError("response", large.message, { hint: addressHint });
  if (inner instanceof SymphonyError) return inner;
  if (typeof status !== "number") {
    const hint =
      connectionAdvice(error) ?? `check openai.base_url and the network: curl -I ${baseUrl}`;
    return providerError("connection", `${baseUrl} cannot be reached`, { hint });
  }
  const [category, hint] = meaningOf(status);
  return providerError(category, `${baseUrl} answered with status ${status}`, { status, hint });
}

function meaningOf(status: number): [ProviderFault, string] {
  if (status === 401 || status === 403) {
    return ["unauthorized", "store another key: symphony secrets add OPENAI_API_KEY"];
  }
  if (status === 429) return ["rate_limited", "try again in a minute"];
  if (status >= 300 && status < 400) {
    return ["redirected", "name the address it leads to in openai.base_url"];
  }
  return ["status", "check openai.base_url, or try again later"];
}
