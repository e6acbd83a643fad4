import type { Api } from "../../contract/api.ts";
import type { Core } from "../../core/core.ts";
import type { Rotation } from "../../core/secrets/secrets.ts";
import type { AuditEntry } from "../../core/store/store.ts";
import type { Handlers } from "../mount.ts";
import { time } from "../views.ts";

/** The entry for an automatic rotation: the key had reached its limit of use. */
function rotationEntry({ kid, previousKid, secrets, at }: Rotation): AuditEntry {
  const detail = { key_id: kid, previous_key_id: previousKid, secrets, reason: "used up" };
  return { at, actor: "api", action: "key.rotate", target: null, outcome: "ok", detail };
}

export function secretHandlers({ secrets, bus, config, history }: Core): Handlers<Api["secrets"]> {
  const changed = async (key: string, change: "created" | "replaced" | "removed") => {
    bus.publish({
      type: "secret.changed",
      message: `secret ${key} ${change}`,
      data: { key, change },
    });
    // A configuration that was refused because this secret was missing is checked again.
    await config.reload();
  };
  return {
    list: () => ({ keys: [...secrets.names()] }),
    async put({ params, body }, exchange) {
      const { key, updatedAt, created, rotated } = await secrets.put(params.key, body.value);
      if (rotated !== null) history.audit(rotationEntry(rotated));
      await changed(key, created ? "created" : "replaced");
      if (created) exchange.setHeader("Location", `/api/v1/secrets/${key}`);
      else exchange.replaced();
      return { key, updated_at: time(updatedAt) };
    },
    async remove({ params }) {
      await secrets.remove(params.key);
      await changed(params.key, "removed");
    },
  };
}

export function keyHandlers({ secrets, log }: Core): Handlers<Api["key"]> {
  return {
    async rotate() {
      const { kid, previousKid, secrets: count, at } = await secrets.rotate();
      log.info("the encryption key of the secrets was rotated", {
        key_id: kid,
        previous_key_id: previousKid,
        secrets: count,
      });
      return { key_id: kid, previous_key_id: previousKid, secrets: count, rotated_at: time(at) };
    },
  };
}
