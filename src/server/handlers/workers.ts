import type { Api } from "../../contract/api.ts";
import { workers as routes } from "../../contract/workers.ts";
import type { Core } from "../../core/core.ts";
import { findStatus } from "../../core/find-issue.ts";
import { SymphonyError } from "../../core/model/errors.ts";
import { writerOf } from "../../core/model/names.ts";
import type { Handlers } from "../mount.ts";
import { shownWorker } from "../views.ts";

const writeList = writerOf(routes.list.reply);
const writeInvitation = writerOf(routes.invite.reply);
const writeWorker = writerOf(routes.cordon.reply);

function requiredFleet({ fleet, ssh }: Pick<Core, "fleet" | "ssh">): NonNullable<Core["fleet"]> {
  if (fleet !== null) return fleet;
  if (ssh() !== null)
    throw new SymphonyError("no_fleet", "the hosts of worker.ssh_hosts belong to no fleet", {
      hint: "change worker.ssh_hosts in WORKFLOW.md: docs/ssh.md",
    });
  throw new SymphonyError("no_fleet", "there is no fleet: attempts run on this machine", {
    hint: "set fleet.url in WORKFLOW.md and restart: docs/scale.md",
  });
}

/** An issue goes to a worker; what cannot travel is refused before anything is stopped. */
export function placeHandlers(core: Core) {
  return {
    async move({ params, body: { worker } }) {
      // Without a worker nothing is sent: a choice is taken back where there is no fleet any more, too.
      const fleet = worker === null ? null : requiredFleet(core);
      const { issue } = await findStatus(core, params.id);
      const { maxCopyBytes: maxBytes } = core.config.current.config.fleet;
      const path = core.workspaces.placeOf(issue)?.path ?? "";
      const bytes = (await fleet?.measure(worker, { path, maxBytes })) ?? null;
      const { from, stops } = await core.orchestrator.move(issue, worker);
      return {
        ...{ issue_identifier: issue.identifier, worker, from, bytes },
        applies: stops ? ("now" as const) : ("next_attempt" as const),
      };
    },
  } satisfies Partial<Handlers<Api["issues"]>>;
}

export function workerHandlers(core: Core): Handlers<Api["workers"]> {
  const { fleet, ssh, log } = core;
  const required = () => requiredFleet(core);
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
