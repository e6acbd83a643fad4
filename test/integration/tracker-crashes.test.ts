import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, test } from "node:test";
import { pathToFileURL } from "node:url";
import type { Step } from "../../src/demo/script.ts";
import { equipment } from "../support/fakes/equipment.ts";
import { type LossyProxy, startLossyProxy } from "../support/fakes/lossy-proxy.ts";
import type { SchemaGithub } from "../support/fakes/schema-github.ts";
import { ask } from "../support/fakes/schema-linear.ts";
import { deliveryProject } from "../support/makers/delivery-project.ts";
import { linearAgent } from "../support/worlds/linear-agent.ts";
import { eventually, Served } from "../support/worlds/symphony.ts";

/** A project whose tracker is behind a network that loses answers. */
interface Bench extends AsyncDisposable {
  readonly id: string;
  readonly proxy: LossyProxy;
  readonly place: { readonly dataDir: string };
  server(): Served;
  serve(): Promise<unknown>;
  /** Requests that move the issue, that write the comment, and that edit it. */
  readonly moves: RegExp;
  readonly writes: RegExp;
  readonly edits: RegExp;
  state(): Promise<string>;
  /** symphony's comments. */
  comments(): Promise<readonly string[]>;
}

const turns: readonly (readonly Step[])[] = [
  [
    { do: "edit", path: "greet.txt", content: "greets\n" },
    { do: "sleep", ms: 200 },
    { do: "say", text: "Done." },
  ],
];
const writing = "  updates: all\n  in_progress: In Progress\n  on_success: In Review\n";

const benches = [
  ["Linear", linear],
  ["GitHub", github],
] as const;

// Most of the time is spent in waiting for polls, so the trackers wait together.
describe("kill -9 in writes to a tracker", { concurrency: benches.length }, () => {
  for (const [name, open] of benches) {
    test(`DELIVERY-39: kill -9 in each write to ${name}, right after it was done: one comment, each move once, also after a 500`, async () => {
      await using bench = await open();
      const { proxy } = bench;
      const kill = { onLost: () => void bench.server().child.kill("SIGKILL") };
      // The start of the work, the comment, its edit, and the end of the work.
      proxy.lose(bench.moves, "reset", kill);
      proxy.lose(bench.writes, "500");
      proxy.lose(bench.writes, "reset", kill);
      proxy.lose(bench.edits, "reset", kill);
      proxy.lose(bench.edits, "500");
      proxy.lose(bench.moves, "reset", kill);
      await bench.serve();
      const isDone = async () => {
        const comments = await bench.comments();
        return (
          (await bench.state()) === "In Review" &&
          /ready for review/.test(comments[0] ?? "") &&
          waiting(bench) === 0
        );
      };
      for (let restarts = 0; !(await isDone()); restarts += 1) {
        assert.ok(restarts < 12, `${await bench.state()} ${await bench.comments()}`);
        await eventually("an end of the server, or of its work", async () => {
          const { signalCode } = bench.server().child;
          return signalCode !== null || held(bench) || (await isDone());
        });
        if (await isDone()) break;
        await bench.server().crash();
        aMinuteLater(bench);
        await bench.serve();
      }
      assert.equal((await bench.comments()).length, 1);
      const made = (match: RegExp) =>
        proxy.seen.filter(({ line, body, status }) => {
          return status < 300 && match.test(`${line}\n${body}`);
        }).length;
      assert.equal(made(bench.writes), 1, "the comment is written once");
      assert.equal(made(bench.moves), 2, "each move is made once");
      assert.ok(proxy.seen.filter(({ isLost }) => isLost).length >= 4);
    });
  }
});

/** Writes that wait. */
function waiting({ place }: Bench): number {
  return entries(place, "SELECT count(*) AS n FROM outbox WHERE state = 'waiting'") ?? 1;
}

/** A write waits for a later time. */
function held({ place }: Bench): boolean {
  const sql = "SELECT count(*) AS n FROM outbox WHERE state = 'waiting' AND due > $wall";
  return (entries(place, sql, { wall: Date.now() + 2_000 }) ?? 0) > 0;
}

/** null: nothing was ordered yet. */
function entries({ dataDir }: Bench["place"], sql: string, values = {}): number | null {
  try {
    using database = new DatabaseSync(join(dataDir, "delivery.db"), { readOnly: true });
    return Number(database.prepare(sql).get(values)?.["n"]);
  } catch {
    return null;
  }
}

/** What waits is due, and the comment was edited long ago. */
function aMinuteLater({ place: { dataDir } }: Bench): void {
  using database = new DatabaseSync(join(dataDir, "delivery.db"));
  database.exec(`UPDATE outbox SET due = 0 WHERE state = 'waiting';
    UPDATE deliveries SET body = json_set(body, '$.comment.at', 0)
      WHERE body ->> '$.comment.at' IS NOT NULL;`);
}

async function linear(): Promise<Bench> {
  const world = await linearAgent({
    ...{ turns, tracker: writing },
    provider: { sessions: false },
  });
  await world.delegate();
  const shown = async () => {
    const { issue } = await ask<{
      issue: {
        state: { name: string };
        comments: { nodes: { body: string; user: { app: boolean } | null }[] };
      };
    }>(
      world.linear.url,
      "query($id: String!) { issue(id: $id) { state { name } comments(first: 100) { nodes { body user { app } } } } }",
      { id: world.issue.id },
    );
    return issue;
  };
  return {
    ...{ id: world.issue.identifier, proxy: world.api, place: world.place },
    server: () => world.server,
    serve: () => world.serve(),
    ...{ moves: /SymphonyMoveIssue/, writes: /SymphonyWriteComment/, edits: /SymphonyEditComment/ },
    state: async () => (await shown()).state.name,
    comments: async () =>
      (await shown()).comments.nodes.flatMap(({ body, user }) => (user?.app ? [body] : [])),
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
}

/** States are labels, and the work stays on its branch: a pull request would be linked by a comment of its own. */
async function github(): Promise<Bench> {
  const server = await import(pathToFileURL(join(equipment("fake-github"), "server.mjs")).href);
  const hub: SchemaGithub = await server.startFakeGithub({ issues: 0, ci: "none" });
  const { origin, pathname } = new URL(hub.api);
  const proxy = await startLossyProxy(origin);
  const token = hub.describe().tokens["symphony-bot"] ?? "";
  const place = await deliveryProject({
    tracker: `  kind: github
  active_states: [Todo, In Progress]
  provider: { repositories: [acme/app], state_from: labels, states: [In Review], base_url: "${proxy.url}${pathname}" }
${writing}`,
    env: { GITHUB_TOKEN: token },
    delivery: "  mode: branch\n  poll_interval_ms: 1000",
    issues: { default: turns },
  });
  // biome-ignore lint/suspicious/noExplicitAny: what a call returns depends on the call
  const rest = async (path: string, body?: object): Promise<any> => {
    const answer = await fetch(`${hub.api}/repos/acme/app${path}`, {
      headers: { authorization: `Bearer ${hub.describe().tokens["ada"]}`, "user-agent": "ada" },
      ...(body && { method: "POST", body: JSON.stringify(body) }),
    });
    return answer.json();
  };
  for (const name of ["Todo", "In Progress", "In Review"])
    await rest("/labels", { name: `status:${name}`, color: "ededed" });
  const { number } = await rest("/issues", { title: "Greet", labels: ["status:Todo"] });
  let served: Served | null = null;
  const running = () => {
    assert.ok(served);
    return served;
  };
  return {
    ...{ id: `app-${number}`, proxy, place, server: running },
    async serve() {
      served = await Served.start(place);
    },
    moves: /^POST [^\n]*\/labels/,
    writes: /^POST [^\n]*\/comments/,
    edits: /^PATCH [^\n]*\/comments\//,
    async state() {
      const { labels }: { labels: { name: string }[] } = await rest(`/issues/${number}`);
      return labels.map(({ name }) => name.replace("status:", "")).join(" and ");
    },
    async comments() {
      const all: { body: string }[] = await rest(`/issues/${number}/comments`);
      return all.map(({ body }) => body);
    },
    async [Symbol.asyncDispose]() {
      await served?.[Symbol.asyncDispose]();
      await proxy[Symbol.asyncDispose]();
      await hub.close();
      await place[Symbol.asyncDispose]();
    },
  };
}
