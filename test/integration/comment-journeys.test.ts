import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, test } from "node:test";
import type { Step } from "../../src/demo/script.ts";
import { ask } from "../support/fakes/schema-linear.ts";
import { deliveryWorld } from "../support/worlds/delivery-world.ts";
import { linearAgent } from "../support/worlds/linear-agent.ts";
import { eventually, type Served } from "../support/worlds/symphony.ts";

/** One issue of a tracker, and the people who comment on it. */
interface Desk extends AsyncDisposable {
  readonly id: string;
  readonly place: { readonly dataDir: string };
  server(): Served;
  serve(): Promise<unknown>;
  crash(): Promise<void>;
  /** Resolves with the comment's id. */
  comment(body: string): Promise<string>;
  edit: ((id: string, body: string) => Promise<unknown>) | null;
  remove: ((id: string) => Promise<unknown>) | null;
  /** A comment of a person who may not steer; null: everybody may. */
  powerless: ((body: string) => Promise<unknown>) | null;
  /** What symphony wrote, oldest first. */
  replies(): Promise<readonly string[]>;
  /** How its own user is mentioned. */
  readonly own: string;
}

const turns: readonly (readonly Step[])[] = [
  [
    { do: "waitForSteer", ms: 4_000 },
    { do: "sleep", ms: 300 },
    { do: "ask", question: "Tabs or spaces?", options: ["tabs", "spaces"] },
    { do: "edit", path: "greet.txt", content: "greets\n" },
    { do: "say", text: "Done." },
  ],
];
const policy = '  comment_steering: all\n  comment_mention: "@desk"\n';

const desks: readonly (readonly [string, () => Promise<Desk>])[] = [
  ["local", local],
  ["linear", linear],
  ["github", github],
];

// Most of the time is spent in waiting for polls, so the trackers wait together.
describe("comments drive", { concurrency: desks.length }, () => {
  for (const [kind, open] of desks) {
    test(`DELIVERY-8, DELIVERY-12, DELIVERY-13 (${kind}): each comment counts once over restarts, quotes and code are no commands, and a comment answers the agent's question`, async () => {
      await using desk = await open();
      await desk.serve();
      const status = async (wanted: string) =>
        eventually(`${kind}: ${wanted}`, async () => {
          const detail = await desk.server().client.issues.detail({ params: { id: desk.id } });
          return detail.status === wanted;
        });
      await status("running");
      await desk.powerless?.("/symphony hold");
      const unknown = await desk.comment("/symphony frobnicate @mallory");
      const listed = async () =>
        (await desk.replies()).filter((body) => /known:/.test(body)).length;
      await eventually("the list", async () => (await listed()) === 1);
      await desk.comment("> /symphony hold\n\n```\n/symphony hold\n```\n\nplease /symphony hold");
      await desk.comment("B: use tabs");
      await desk.crash();
      await desk.comment("C: in two words");
      await status("blocked");
      await desk.comment("D: come on");
      const steered = () => read(desk, "SELECT message FROM steers ORDER BY ordinal");
      await eventually("four comments", async () => steered().length === 4);
      assert.deepEqual(
        steered().map(({ message }) => /> (?:> )?(\S+)/.exec(String(message))?.[1]),
        ["/symphony", "B:", "C:", "D:"],
      );
      // Asked in this attempt, and after every comment so far.
      const answer = await desk.comment(`${desk.own} answer tabs`);
      await status("review");
      await desk.edit?.(answer, `A typo is mended.\n\n${desk.own} answer tabs`);
      await desk.edit?.(unknown, "/symphony frobnicate @mallory!");
      await desk.remove?.(unknown);
      await desk.crash();
      await status("review");
      await eventually("the comments are read again", async () => {
        const { stdout } = { stdout: await polls(desk) };
        return stdout;
      });
      const audited = read(
        desk,
        "SELECT action, outcome, detail FROM audit WHERE actor = 'tracker'",
      );
      const acts = audited.map(({ action, outcome }) => `${action} ${outcome}`);
      assert.deepEqual(acts, [...Array(4).fill("issues.steer ok"), "issues.respond ok"]);
      assert.equal(await listed(), 1);
      for (const body of await desk.replies()) assert.doesNotMatch(body, /@mallory/);
    });
  }
});

function read(desk: Desk, sql: string) {
  using database = new DatabaseSync(join(desk.place.dataDir, "history.db"), { readOnly: true });
  return database.prepare(sql).all();
}

/** Whether the issues were polled twice since the start of the server. */
async function polls(desk: Desk): Promise<boolean> {
  const text = await (await fetch(`${desk.server().url}/metrics`)).text();
  const [, count = "0"] = /symphony_polls_total\{[^}]*outcome="ok"[^}]*\} (\d+)/.exec(text) ?? [];
  return Number(count) >= 3;
}

async function local(): Promise<Desk> {
  const world = await deliveryWorld({
    tracker: `${policy}  active_states: [Todo, In Progress]\n  provider: { states: [In Review] }`,
    issues: { "LOCAL-1": turns },
  });
  await world.create();
  return {
    ...{ id: "LOCAL-1", place: world.place, own: "@desk" },
    server: () => world.server,
    serve: () => world.serve(),
    crash: () => world.crash(),
    async comment(body) {
      const made = await world.symphony("issue", "comment", "LOCAL-1", body);
      assert.equal(made.code, 0, made.stderr);
      return "";
    },
    ...{ edit: null, remove: null, powerless: null },
    replies: async () => world.linked().filter((body) => body.includes("<!-- symphony -->")),
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
}

async function linear(): Promise<Desk> {
  const world = await linearAgent({
    ...{ turns, tracker: policy },
    provider: { sessions: false, webhook_secret: undefined },
  });
  await world.delegate();
  world.guest("margaret");
  const issueId = world.issue.id;
  const write = async (as: string, body: string) => {
    const { commentCreate } = await world.act<{ commentCreate: { comment: { id: string } } }>(
      as,
      "mutation($input: CommentCreateInput!) { commentCreate(input: $input) { comment { id } } }",
      { input: { issueId, body } },
    );
    return commentCreate.comment.id;
  };
  return {
    ...{ id: world.issue.identifier, place: world.place, own: "@symphony" },
    server: () => world.server,
    serve: () => world.serve(),
    crash: () => world.crash(),
    comment: (body) => write("grace", body),
    powerless: (body) => write("margaret", body),
    edit: (id, body) =>
      world.act(
        "grace",
        "mutation($id: String!, $body: String!) { commentUpdate(id: $id, input: { body: $body }) { success } }",
        { id, body },
      ),
    remove: (id) =>
      world.act("grace", "mutation($id: String!) { commentDelete(id: $id) { success } }", { id }),
    async replies() {
      const { issue } = await ask<{
        issue: { comments: { nodes: { body: string; user: { app: boolean } | null }[] } };
      }>(
        world.linear.url,
        "query($id: String!) { issue(id: $id) { comments(first: 100) { nodes { body user { app } } } } }",
        { id: issueId },
      );
      return issue.comments.nodes.flatMap(({ body, user }) => (user?.app ? [body] : []));
    },
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
}

async function github(): Promise<Desk> {
  const world = await deliveryWorld({
    tracker: ({ api }) => `  kind: github
  required_labels: [agent]
  provider: { repositories: [acme/app], base_url: "${api}" }
${policy}`,
    issues: { default: turns },
  });
  await world.rest("POST /repos/acme/app/labels", { name: "agent", color: "ededed" });
  const { number } = await world.github.act({ do: "issue", title: "Greet", labels: ["agent"] });
  const path = `/repos/acme/app/issues/${number}/comments`;
  return {
    ...{ id: `acme/app#${number}`, place: world.place, own: "@symphony-bot" },
    server: () => world.server,
    serve: () => world.serve(),
    crash: () => world.crash(),
    comment: async (body) => String((await world.rest(`POST ${path}`, { body }, "grace")).id),
    powerless: (body) => world.rest(`POST ${path}`, { body }, "margaret"),
    edit: (id, body) =>
      world.rest(`PATCH /repos/acme/app/issues/comments/${id}`, { body }, "grace"),
    remove: async (id) => {
      await fetch(`${world.github.api}/repos/acme/app/issues/comments/${id}`, {
        method: "DELETE",
        headers: { authorization: `Bearer ${world.github.describe().tokens["grace"]}` },
      });
    },
    async replies() {
      const all: { body: string; user: { login: string } }[] = await world.rest(`GET ${path}`);
      return all.flatMap(({ body, user }) => (user.login === "symphony-bot" ? [body] : []));
    },
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
}
