import type { Api } from "../../contract/api.ts";
import { tokens as routes } from "../../contract/tokens.ts";
import type { Clock } from "../../core/clock.ts";
import type { Core } from "../../core/core.ts";
import { writerOf } from "../../core/model/names.ts";
import type { NamedToken } from "../../core/store/named-tokens.ts";
import type { Handlers } from "../mount.ts";

const writeList = writerOf(routes.list.reply);
const writeAdded = writerOf(routes.add.reply);

export function tokenHandlers({ tokens, log }: Core, clock: Clock): Handlers<Api["tokens"]> {
  const written = ({ name, role, createdWall: createdAt, untilWall: expiresAt }: NamedToken) => {
    const expired = expiresAt !== null && expiresAt <= clock.wall();
    return { name, role, createdAt, expiresAt, expired };
  };
  return {
    list: () => writeList({ tokens: tokens.all.map(written) }),
    async add({ body: { name, role, valid_seconds: validS } }) {
      const untilWall = validS === null ? null : Math.round(clock.wall() + validS * 1_000);
      const { token, entry } = await tokens.add({ name, role, untilWall });
      log.info("a token was made", { name, role });
      return writeAdded({ ...written(entry), token });
    },
    async remove({ params }) {
      await tokens.remove(params.name);
      log.info("a token was removed", { name: params.name });
    },
  };
}
