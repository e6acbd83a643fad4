import assert from "node:assert/strict";
import { test } from "node:test";
import { kinds } from "../../src/core/kinds.ts";
import { SymphonyError } from "../../src/core/model/errors.ts";
import { registerWebhook } from "../../src/core/register-webhook.ts";
import type { WebhookOrder } from "../../src/core/tracker/tracker.ts";
import { config } from "../support/makers/issue.ts";

type Deps = Parameters<typeof registerWebhook>[0];

interface Setting {
  readonly kind: string;
  readonly provider?: Readonly<Record<string, unknown>>;
  readonly env?: Readonly<Record<string, string>>;
  readonly refusal?: SymphonyError;
}

/** Registers an address with a tracker that accepts every order, and returns the result. */
async function register(address: string, { kind, provider = {}, env = {}, refusal }: Setting) {
  const orders: WebhookOrder[] = [];
  const stored: string[] = [];
  const logged: (readonly [string, Readonly<Record<string, unknown>>])[] = [];
  const log = (message: string, fields = {}) => void logged.push([message, fields]);
  const deps = {
    kinds,
    config: {
      current: { config: config({ tracker: { kind, provider } }) },
      reload: async () => true,
    },
    tracker: () => ({
      kind,
      ...(kind !== "local" && {
        async registerWebhook(order: WebhookOrder) {
          orders.push(order);
          if (refusal) throw refusal;
          return { outcome: "created", secret: order.secret ?? "made-up" };
        },
      }),
    }),
    secrets: {
      async put(name: string, value: string) {
        stored.push(`${name}=${value}`);
        return { created: true };
      },
    },
    bus: { publish() {} },
    log: { info: log, warn: log },
    history: { audit() {} },
    clock: { wall: () => 0 },
    lookup: (name: string) => env[name],
  };
  await registerWebhook(deps as unknown as Deps, address);
  return { orders, stored, logged };
}

test("an address without a path gets the route of the current tracker, one with a path is kept", async () => {
  for (const [address, url] of [
    ["https://hooks.example.com", "https://hooks.example.com/webhooks/linear"],
    ["https://hooks.example.com/own/path", "https://hooks.example.com/own/path"],
  ] as const) {
    const { orders } = await register(address, { kind: "linear" });
    assert.deepEqual(orders, [{ url, secret: null, secretIsFixed: false }]);
  }
});

test("the new secret is stored under the name that the configuration gives it", async () => {
  const { stored } = await register("https://h.example.com", { kind: "linear" });
  assert.deepEqual(stored, ["LINEAR_WEBHOOK_SECRET=made-up"]);
  const provider = { webhook_secret: "$MY_HOOK" };
  const named = await register("https://h.example.com", { kind: "linear", provider });
  assert.deepEqual(named.stored, ["MY_HOOK=made-up"]);
  const env = { MY_HOOK: "known" };
  const known = await register("https://h.example.com", { kind: "linear", provider, env });
  assert.deepEqual([known.orders[0]?.secret, known.stored], ["known", []]);
  const fixed = await register("https://h.example.com", {
    kind: "linear",
    provider: { webhook_secret: "in-the-file" },
  });
  assert.deepEqual(
    [fixed.orders[0]?.secret, fixed.orders[0]?.secretIsFixed, fixed.stored],
    ["in-the-file", true, []],
  );
});

test("for a tracker that refuses, the row tells how to set it up by hand; a tracker without webhooks gets no order", async () => {
  const refusal = new SymphonyError("tracker_status", "forbidden", { details: { status: 403 } });
  const { logged } = await register("https://h.example.com", { kind: "linear", refusal });
  assert.match(String(logged[0]?.[1]["hint"]), /by hand in Linear: Settings, API, Webhooks/);
  const local = await register("https://h.example.com", { kind: "local" });
  assert.deepEqual(local.orders, []);
  assert.match(String(local.logged[0]?.[1]["reason"]), /local tracker has no webhooks/);
});
