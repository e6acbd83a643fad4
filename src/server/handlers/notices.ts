import type { Api } from "../../contract/api.ts";
import { notices as routes } from "../../contract/notices.ts";
import type { Core } from "../../core/core.ts";
import { writerOf } from "../../core/model/names.ts";
import type { Handlers } from "../mount.ts";

const writeList = writerOf(routes.list.reply);
const writeResults = writerOf(routes.test.reply);

export function noticeHandlers({ notices }: Core): Handlers<Api["notices"]> {
  return {
    list: () =>
      writeList({
        rules: notices.list().map(({ rule: { name, to, when, detail }, ...standing }) => ({
          ...{ name, to, when, detail },
          ...standing,
        })),
      }),
    async test({ body }) {
      const results = await notices.test(body.name ?? null);
      return writeResults({
        results: results.map(({ rule: { name, to }, ...result }) => ({ name, to, ...result })),
      });
    },
  };
}
