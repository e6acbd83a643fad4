import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { systemClock } from "../src/core/clock.ts";
import { createGithubTracker } from "../src/core/tracker/github/tracker.ts";
import { equipment } from "../test/support/fakes/equipment.ts";
import { config } from "../test/support/makers/issue.ts";

// Polls of 10,000 issues at a double of GitHub in a process of its own: requests, points and own CPU of each. Needs
// SYMPHONY_EQUIPMENT: `npm run bench -- trackers`.

const issues = Number(process.env["SYMPHONY_BENCH_ISSUES"] ?? 10_000);
const place = process.env["SYMPHONY_EQUIPMENT"];

if (process.argv[2] === "server") await serve();
else if (place === undefined) process.stdout.write("skipped: SYMPHONY_EQUIPMENT is not set\n");
else await measure();

async function serve(): Promise<void> {
  const server = pathToFileURL(join(equipment("fake-github"), "server.mjs")).href;
  const { startFakeGithub } = await import(server);
  const fake = await startFakeGithub({ issues, validate: false });
  const said = () => ({
    ...{ api: fake.api, token: fake.describe().tokens["symphony-bot"] },
    ...{ requests: fake.totals.requests, notModified: fake.totals.notModified },
  });
  process.send?.(said());
  process.on("message", async (order: object | null) => {
    if (order !== null) await fake.act(order);
    process.send?.(said());
  });
  process.once("disconnect", () => void fake.close());
}

async function measure(): Promise<void> {
  const { fork } = await import("node:child_process");
  const child = fork(import.meta.filename, ["server"]);
  const heard = () =>
    new Promise<{ readonly api: string; readonly token: string }>((resolve) =>
      child.once("message", (said) => resolve(said as never)),
    );
  const { api, token } = await heard();
  const act = async (order: object) => {
    const done = heard();
    child.send(order);
    await done;
  };
  try {
    await polls("issues", { api, token, provider: {}, states: ["Open"] }, () =>
      act({ do: "edit", issue: 1, title: "Another" }),
    );
    const provider = { project: "acme/1" };
    await polls("board", { api, token, provider, states: ["Todo", "In Progress"] }, () =>
      act({ do: "status", issue: 1, status: "In Progress" }),
    );
  } finally {
    child.kill();
  }
}

interface Wish {
  readonly api: string;
  readonly token: string;
  readonly provider: object;
  readonly states: readonly string[];
}

/** The first poll, three that find nothing new, and one after a change. */
async function polls(
  name: string,
  { api, token, provider, states }: Wish,
  change: () => Promise<void>,
): Promise<void> {
  let requests = 0;
  let left = "";
  const tracker = createGithubTracker({
    config: config({
      tracker: {
        ...{ kind: "github", activeStates: [...states] },
        terminalStates: ["Done", "Closed", "Not planned", "Duplicate"],
        provider: { base_url: api, repositories: ["acme/app"], ...provider },
      },
    }).tracker,
    lookup: () => token,
    clock: systemClock,
    onRequest() {
      requests += 1;
    },
  });
  for (const poll of ["first", "unchanged", "unchanged", "unchanged", "one change"]) {
    if (poll === "one change") await change();
    requests = 0;
    const from = performance.now();
    const before = process.cpuUsage();
    const found = await tracker.fetchIssuesByStates(states);
    const { user, system } = process.cpuUsage(before);
    const ms = Math.round(performance.now() - from);
    left = tracker.quota?.() ?? "";
    const cpu = Math.round((user + system) / 1_000);
    process.stdout.write(
      `${name}, ${poll}: ${found.length} of ${issues} issues, ${requests} requests, ${cpu} ms of CPU, ${ms} ms\n`,
    );
  }
  process.stdout.write(`${name}: left of the hour ${left}\n`);
  await tracker.close();
}
