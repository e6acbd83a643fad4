import type { Api } from "../../contract/api.ts";
import type { Core } from "../../core/core.ts";
import { SymphonyError } from "../../core/model/errors.ts";
import type { RateStanding } from "../../core/tracker/inbox.ts";
import type { Exchange, Handlers } from "../mount.ts";

export function webhookHandlers({ webhooks }: Core): Handlers<Api["webhooks"]> {
  return {
    async linear({ headers, body }, exchange) {
      try {
        const { duplicate, rate } = await webhooks.receive(body, headers["linear-signature"]);
        tellRate(exchange, rate);
        return { accepted: true, duplicate };
      } catch (error) {
        if (error instanceof SymphonyError && error.code === "rate_limited") {
          const rate = error.details as unknown as RateStanding;
          tellRate(exchange, rate);
          exchange.setHeader("Retry-After", String(Math.max(rate.resetSeconds, 1)));
        }
        throw error;
      }
    },
  };
}

function tellRate(exchange: Exchange, rate: RateStanding): void {
  exchange.setHeader("RateLimit-Limit", String(rate.limit));
  exchange.setHeader("RateLimit-Remaining", String(rate.remaining));
  exchange.setHeader("RateLimit-Reset", String(rate.resetSeconds));
}
