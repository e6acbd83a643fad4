import type { JsonObject } from "../json-value.ts";

const prefix = "x-ratelimit-";
const most = 20;

/** What the provider's `x-ratelimit-` headers say, by the rest of their name; null without any. */
export function limitsOf(headers: Headers): JsonObject | null {
  const found = [...headers]
    .filter(([name]) => name.startsWith(prefix))
    .slice(0, most)
    .map(([name, value]): [string, string | number] => {
      const number = /^\d+$/.test(value) ? Number(value) : null;
      return [name.slice(prefix.length).replaceAll("-", "_"), number ?? value.slice(0, 100)];
    });
  return found.length === 0 ? null : Object.fromEntries(found);
}
