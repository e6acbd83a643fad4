import type { Api } from "../contract/api.ts";
import type { Reply } from "../contract/route.ts";
import { type Cell, printPage, relative } from "./output.ts";
import { row, subcommand } from "./table.ts";
import { parseDuration } from "./when.ts";

type Worker = Reply<Api["workers"]["list"]>["workers"][number];

const workerArgument = {
  name: "worker",
  summary: "its name, as symphony workers list shows it",
} as const;

const listRow = subcommand({
  name: "list",
  summary: "list the workers of the fleet, and whether they take attempts",
  examples: ["symphony workers list", "symphony workers list --json | jq '.workers[].name'"],
  call: async (_, context) => (await context.client()).workers.list(),
  async print({ fleet, workers }, context) {
    if (!fleet)
      return context.note(
        "There is no fleet: attempts run on the server's machine (docs/scale.md)",
      );
    if (workers.length === 0)
      return context.note("No worker has joined; next: symphony workers invite");
    await printPage(
      {
        columns: [
          { title: "WORKER" },
          { title: "HOST", drop: 2 },
          { title: "RUNNING", align: "right" },
          { title: "VERSION", drop: 4 },
          { title: "LABELS", drop: 3 },
          { title: "SINCE", drop: 1 },
          { title: "STATE", flexible: true },
        ],
        rows: workers.map((worker): Cell[] => [
          worker.name,
          worker.host ?? "-",
          `${worker.running} of ${worker.capacity}`,
          worker.version ?? "-",
          worker.labels.join(", ") || "-",
          relative(worker.since, Date.now()),
          stateOf(worker),
        ]),
      },
      context,
    );
  },
});

/** Whether it takes attempts, and the agents that it cannot start. */
function stateOf({ why, agents }: Pick<Worker, "why" | "agents">): Cell {
  if (why !== null) return { text: why, style: "red" };
  const lacks = (agents ?? []).filter(({ trouble }) => trouble !== null);
  if (lacks.length === 0) return "ready";
  const said = lacks.map(({ agent, trouble }) => `${agent}: ${trouble}`).join("; ");
  return { text: `ready, but not for ${said}`, style: "yellow" };
}

const inviteRow = subcommand({
  name: "invite",
  summary: "write a token with which one machine can join the fleet",
  examples: [
    "symphony workers invite",
    "symphony workers invite --expires 1d --json | jq -r .token",
  ],
  options: [
    {
      name: "expires",
      value: "duration",
      summary: "how long the token is valid, such as 15m or 1d; at most 30d",
      default: "1h",
      read: parseDuration,
    },
  ],
  call: async ({ expires }, context) =>
    (await context.client()).workers.invite({
      body: { valid_seconds: Math.round(expires / 1_000) },
    }),
  print({ token, expires_at: until }, context) {
    context.print(token);
    context.note(`It is valid until ${until}, for one machine. On that machine:`);
    context.note("  SYMPHONY_WORKER_TOKEN=<token> symphony worker --join <URL of the engine>");
  },
});

const cordonRow = subcommand({
  name: "cordon",
  summary: "give a worker no new attempts; what it runs continues",
  examples: ["symphony workers cordon build-1", "symphony workers cordon build-1 --off"],
  arguments: [workerArgument],
  options: [{ name: "off", summary: "give it attempts again" }],
  call: async ({ worker: name, off }, context) =>
    (await context.client()).workers.cordon({ params: { name }, body: { cordoned: !off } }),
  print({ name, running, why }, { note }) {
    if (why === null) return note(`${name} gets attempts again`);
    note(`${name} gets no new attempts; it runs ${running}`);
  },
});

const drainRow = subcommand({
  name: "drain",
  summary: "let a worker finish what it runs, then end its process",
  examples: ["symphony workers drain build-1"],
  arguments: [workerArgument],
  call: async ({ worker: name }, context) =>
    (await context.client()).workers.cordon({
      params: { name },
      body: { cordoned: true, drain: true },
    }),
  print({ name, running }, { note }) {
    note(`${name} gets no new attempts and ends when the ${running} that it runs have ended`);
    note(`Next: symphony workers list; symphony workers cordon ${name} --off takes it back`);
  },
});

const removeRow = subcommand({
  name: "remove",
  summary: "remove a worker: its attempts end and are tried again elsewhere",
  examples: ["symphony workers remove build-1"],
  arguments: [workerArgument],
  async call({ worker: name }, context) {
    await (await context.client()).workers.remove({ params: { name } });
    return { name };
  },
  print({ name }, { note }) {
    note(`${name} is removed; it cannot come back without a new token`);
  },
});

/** The machines of the fleet. */
export const workersCommand = row({
  examples: ["symphony workers list", "symphony workers invite"],
  commands: [listRow, inviteRow, cordonRow, drainRow, removeRow],
});
