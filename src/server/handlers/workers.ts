import type { Api } from "../../contract/api.ts";
import { workers as routes } from "../../contract/workers.ts";
import type { Core } from "../../core/core.ts";
import { SymphonyError } from "../../core/model/errors.ts";
import { writerOf } from "../../core/model/names.ts";
import type { Handlers } from "../mount.ts";
import { shownWorker } from "../views.ts";

const writeList = writerOf(routes.list.reply);
const writeInvitation = writerOf(routes.invite.reply);
const writeWorker = writerOf(routes.cordon.reply);

export function workerHandlers({ fleet, ssh, log }: Core): Handlers<Api["workers"]> {
  const required = () => {
    if (fleet !== null) return fleet;
    if (ssh() !== null)
      throw new SymphonyError("no_fleet", "the hosts of worker.ssh_hosts belong to no fleet", {
        hint: "change worker.ssh_hosts in WORKFLOW.md: docs/ssh.md",
      });
    throw new SymphonyError("no_fleet", "there is no fleet: attempts run on this machine", {
      hint: "set fleet.url in WORKFLOW.md and restart: docs/scale.md",
    });
  };
  return {
    list() {
      const all = fleet?.workers ?? ssh()?.hosts.workers;
      return writeList({ fleet: all !== undefined, workers: (all ?? []).map(shownWorker) });
    },
    async invite({ body }) {
      const { token, untilWall } = await required().invite(body.valid_seconds * 1_000);
      return writeInvitation({ token, expiresAt: untilWall });
    },
    async cordon({ params, body }) {
      const worker = await required().cordon(params.name, body);
      log.info(body.cordoned ? "a worker gets no new attempts" : "a worker gets attempts again", {
        worker: params.name,
        drain: body.drain,
      });
      return writeWorker(shownWorker(worker));
    },
    async remove({ params }) {
      await required().remove(params.name);
      log.info("a worker was removed", { worker: params.name });
    },
  };
}
