import assert from "node:assert/strict";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { resolve } from "node:path";
import { test } from "node:test";
import { systemClock } from "../../../../src/core/clock.ts";
import { commandAdapter } from "../../../../src/core/tracker/command/adapter.ts";
import { commandsIn } from "../../../../src/core/tracker/commands.ts";
import { config } from "../../../support/makers/issue.ts";
import { temporaryDir } from "../../../support/makers/storage.ts";

const token = "jira-token-of-a-test";

interface Comment {
  readonly id: string;
  readonly author: { readonly accountId: string; readonly accountType: string } | null;
  body: string;
}

/** The account of the token. */
const bot = { accountId: "bot", accountType: "atlassian" };
/** The comments that an answer of Jira has at most. */
const commentsPage = 2;

/** Answers as Jira Cloud's REST API documents it, for one project of two issues. */
class ScriptedJira {
  readonly comments: Comment[] = [];
  readonly queries: string[] = [];
  readonly states = new Map([
    ["10001", "To Do"],
    ["10002", "To Do"],
  ]);
  /** The status of the next answers; an answer of 500 comes after the work was done. */
  readonly faults: number[] = [];
  /** The project may not be read. */
  isHidden = false;
  /** Issues that it cannot read now, named in `issueErrors`. */
  readonly unread = new Set<string>();

  answer(request: IncomingMessage, url: URL, body: string): readonly [number, unknown] {
    const expected = `Basic ${Buffer.from(`bot@example.com:${token}`).toString("base64")}`;
    if (request.headers.authorization !== expected) return [401, {}];
    const fault = this.faults.shift();
    if (fault === 429) return [429, {}];
    const asked = body ? JSON.parse(body) : Object.fromEntries(url.searchParams);
    const done = this.#work(`${request.method} ${url.pathname}`, asked);
    return fault === undefined || fault === 200 ? done : [fault, {}];
  }

  #work(act: string, body: Record<string, unknown>): readonly [number, unknown] {
    const [, id = "", rest = ""] = /\/issue\/([^/]+)(\/.*)?$/.exec(act) ?? [];
    if (act === "POST /rest/api/2/search/jql") {
      if (this.isHidden) return [400, { errorMessages: ["no value 'APP' for the field project"] }];
      this.queries.push(String(body["jql"]));
      const isFirst = (body["nextPageToken"] ?? null) === null;
      const issues = [this.#issue(isFirst ? "10001" : "10002")];
      return [200, isFirst ? { issues, nextPageToken: "t2" } : { issues, isLast: true }];
    }
    if (act === "POST /rest/api/2/issue/bulkfetch") {
      const wanted = (body["issueIdsOrKeys"] as string[]).map((one) => one.replace("APP-", "1000"));
      if (wanted.length === 0) return [400, { errorMessages: ["no issue IDs/keys were present"] }];
      const isRead = (one: string) => !this.isHidden && !this.unread.has(one);
      const found = wanted.filter((one) => isRead(one) && this.states.has(one));
      const issueErrors = wanted.filter((one) => this.unread.has(one)).map((id) => ({ id }));
      return [200, { issues: found.map((one) => this.#issue(one)), issueErrors }];
    }
    if (act === "GET /rest/api/2/myself") return [200, bot];
    const known = id.replace("APP-", "1000");
    if (this.isHidden || !this.states.has(known))
      return [404, { errorMessages: ["Issue does not exist"] }];
    const to = (name: string, at: string) => ({ id: at, name: `Go ${name}`, to: { name } });
    const transitions = [to("In Review", "31"), to("Done", "41")];
    if (act.startsWith("GET") && rest === "/transitions") return [200, { transitions }];
    if (rest === "/transitions") {
      const { id: wanted } = body["transition"] as { id: string };
      this.states.set(known, transitions.find((one) => one.id === wanted)?.to.name ?? "");
      return [204, null];
    }
    if (act.startsWith("GET")) {
      assert.equal(body["orderBy"], "-created");
      const from = Number(body["startAt"]);
      const comments = this.comments.toReversed().slice(from, from + commentsPage);
      return [200, { comments, startAt: from, total: this.comments.length }];
    }
    const text = String(body["body"]);
    if (act.startsWith("POST")) this.write(text, bot);
    else for (const one of this.comments) if (rest === `/comment/${one.id}`) one.body = text;
    return [201, {}];
  }

  write(body: string, author: Comment["author"]): void {
    this.comments.push({ id: `${this.comments.length}`, author, body });
  }

  #issue(id: string) {
    const time = "2026-01-02T03:04:05.000+0000";
    const key = id.replace("1000", "APP-");
    const status = { name: this.states.get(id) };
    const dates = { created: time, updated: time };
    const words = {
      summary: `Title of ${key}`,
      description: "d".repeat(32_767),
      labels: ["Agent"],
    };
    return { id, key, fields: { ...words, ...dates, status, priority: { id: "2" } } };
  }
}

test("examples/trackers/jira.mjs works on a Jira: list, get, move, one comment for each key, and comments", async (t) => {
  const jira = new ScriptedJira();
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const url = new URL(request.url ?? "/", "http://jira");
      const [status, value] = jira.answer(request, url, Buffer.concat(chunks).toString());
      response.writeHead(status, { "content-type": "application/json", "retry-after": "7" });
      response.end(status === 204 ? "" : JSON.stringify(value));
    });
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  const settings = config({
    tracker: {
      kind: "command",
      provider: {
        command: [process.execPath, resolve("examples/trackers/jira.mjs")],
        env: {
          JIRA_URL: `http://127.0.0.1:${port}`,
          JIRA_EMAIL: "bot@example.com",
          JIRA_JQL: "project = APP",
          JIRA_WRITERS: "ada,grace",
        },
        secret_env: ["JIRA_TOKEN"],
        states: ["In Review"],
      },
      activeStates: ["To Do"],
      terminalStates: ["Done"],
    },
  }).tracker;
  const tracker = commandAdapter.create(settings, {
    ...{ dataDir: temporaryDir(t), clock: systemClock, env: { PATH: process.env["PATH"] } },
    lookup: (name) => (name === "JIRA_TOKEN" ? token : undefined),
  });
  t.after(() => tracker.close());

  const found = await tracker.fetchIssuesByStates(["To Do"]);
  assert.deepEqual(
    found.map(({ identifier, priority, labels }) => [identifier, priority, labels]),
    [
      ["APP-1", 2, ["agent"]],
      ["APP-2", 2, ["agent"]],
    ],
  );
  assert.equal(found[0]?.createdAt, Date.UTC(2026, 0, 2, 3, 4, 5));
  assert.equal(found[0]?.description?.length, 32_767);
  assert.equal(jira.queries[0], '(project = APP) AND status IN ("To Do")');
  await tracker.scopeNames?.({ labels: false });
  const [one] = await tracker.fetchIssuesByIds(["10001", "10009"]);
  assert.equal((await tracker.find?.("APP-2"))?.issue.id, "10002");
  assert.ok(one);
  await tracker.workflow.move(one, "In Review");
  assert.equal(jira.states.get("10001"), "In Review");
  await assert.rejects(tracker.workflow.move(one, "To Do"), { code: "transition_not_allowed" });

  const write = (body: string) => tracker.workflow.comment?.(one, { key: "updates:1", body });
  // The comment is looked up, then written, and the answer to the write is lost.
  jira.faults.push(200, 500);
  await assert.rejects(async () => write("under way"), { code: "tracker_request" });
  await write("in review of [~accountid:1]");
  assert.deepEqual(
    jira.comments.map(({ body }) => body.split("\n")[0]),
    ["in review of [\u2060~accountid:1]"],
    "it notifies no one",
  );
  assert.doesNotMatch(jira.comments[0]?.body ?? "", /<!--/);
  jira.write("/symphony hold", { accountId: "mallory", accountType: "atlassian" });
  jira.write("Deployed", { accountId: "robot", accountType: "app" });
  jira.write("A deleted account", null);
  await write("done");
  assert.match(jira.comments[0]?.body ?? "", /^done/, "also one of an earlier page");
  assert.equal(jira.comments.length, 4);
  const last = async () =>
    (await tracker.newComments?.(one, 0))?.map(({ by, body, mayWrite }) => [by, body, mayWrite]);
  assert.deepEqual(await last(), [
    ["machine", "Deployed", undefined],
    ["person", "A deleted account", false],
  ]);
  jira.write("/symphony retry", { accountId: "ada", accountType: "atlassian" });
  await write("done");
  jira.write("{code:bash}\n/symphony retry\n{code}", { accountId: "eve", accountType: "customer" });
  const [order, quoted] = (await tracker.newComments?.(one, 0)) ?? [];
  assert.deepEqual([order?.mayWrite, quoted?.mayWrite], [true, false]);
  const names = { prefix: "/symphony", mentions: [] };
  assert.deepEqual(commandsIn(order?.body ?? "", names), [{ verb: "retry", text: "" }]);
  assert.deepEqual(commandsIn(quoted?.body ?? "", names), [], "code is no command");
  jira.isHidden = true;
  await assert.rejects(async () => tracker.scopeNames?.({ labels: false }), {
    code: "tracker_request",
  });
  await assert.rejects(tracker.fetchIssuesByIds(["10001"]), { code: "tracker_request" });
  jira.isHidden = false;
  jira.unread.add("10001");
  await assert.rejects(tracker.fetchIssuesByIds(["10001"]), { code: "tracker_request" });
  jira.unread.clear();
  jira.faults.push(429);
  await assert.rejects(tracker.fetchIssuesByIds(["10001"]), {
    code: "tracker_rate_limited",
    message: /HTTP 429/,
  });
});
