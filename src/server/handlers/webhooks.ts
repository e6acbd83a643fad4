import type { Api } from "../../contract/api.ts";
import { paths } from "../../contract/paths.ts";
import { mapped } from "../../contract/route.ts";
import type { Core } from "../../core/core.ts";
import { SymphonyError } from "../../core/model/errors.ts";
import type { RateStanding } from "../../core/tracker/rate-window.ts";
import type { Exchange, Handlers } from "../mount.ts";

type Delivery = Parameters<Handlers<Api["webhooks"]>[keyof Api["webhooks"]]>[0];

/** One handler for each service that delivers webhooks. */
export function webhookHandlers({ webhooks }: Core): Handlers<Api["webhooks"]> {
  return mapped(paths.webhooks, (kind) => {
    return async ({ body }: Delivery, exchange: Exchange) => {
      try {
        const post = { body, header: exchange.header };
        const { duplicate, rate } = await webhooks.of(kind).receive(post);
        tellRate(exchange, rate);
        return { accepted: true as const, duplicate };
      } catch (error) {
        if (error instanceof SymphonyError && error.code === "rate_limited") {
          const rate = error.details as unknown as RateStanding;
          tellRate(exchange, rate);
          exchange.setHeader("Retry-After", String(Math.max(rate.resetSeconds, 1)));
        }
        throw error;
      }
    };
  });
}

function tellRate(exchange: Exchange, rate: RateStanding): void {
  exchange.setHeader("RateLimit-Limit", String(rate.limit));
  exchange.setHeader("RateLimit-Remaining", String(rate.remaining));
  exchange.setHeader("RateLimit-Reset", String(rate.resetSeconds));
}
