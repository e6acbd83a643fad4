import type { Api } from "../../contract/api.ts";
import type { Core } from "../../core/core.ts";
import type { Handlers } from "../mount.ts";
import { time } from "../views.ts";

export function keyHandlers({ secrets, log }: Core): Handlers<Api["key"]> {
  return {
    async rotate() {
      const { kid, previousKid, secrets: count, at } = await secrets.rotate();
      log.info("the key of the secrets was changed", {
        key_id: kid,
        previous_key_id: previousKid,
        secrets: count,
      });
      return { key_id: kid, previous_key_id: previousKid, secrets: count, rotated_at: time(at) };
    },
  };
}
