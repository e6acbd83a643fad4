import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import parsePrometheusTextFormat from "parse-prometheus-text-format";
import { parseExposition } from "../../src/commands/system.ts";
import { followDiskUse } from "../../src/core/followers.ts";
import { noTokens } from "../../src/core/model/attempt.ts";
import { config, issue } from "../support/makers/issue.ts";
import { delivery, issueEvent, webhookSecretValue } from "../support/makers/webhook.ts";
import { createWorld, type World } from "../support/worlds/core.ts";
import { settled } from "../support/worlds/scheduler.ts";
import { serve, type TestServer } from "../support/worlds/server.ts";

/** The contract's list, each metric with the names of its labels. */
const promised: Readonly<Record<string, readonly string[]>> = {
  issues: ["status"],
  attempts_total: ["agent", "outcome"],
  attempt_duration_seconds: [],
  turns_total: ["outcome"],
  tokens_total: ["direction", "model"],
  poll_duration_seconds: [],
  polls_total: ["outcome"],
  tracker_requests_total: ["kind", "outcome"],
  tracker_rate_limit_remaining: [],
  dispatch_latency_seconds: [],
  webhook_deliveries_total: ["outcome"],
  outbox_waiting: [],
  issue_to_merge_seconds: [],
  events_total: ["type"],
  sse_clients: [],
  sse_dropped_total: ["limit"],
  sse_waiting_bytes: [],
  http_request_duration_seconds: ["method", "route", "status"],
  workspace_bytes: [],
  build_info: ["node_version", "version"],
};

/** The checker of Prometheus, if it is installed. */
const withoutPromtool =
  spawnSync("promtool", ["--version"]).status === 0 ? false : "promtool is not installed";

/** The metrics as an independent parser reads them. */
async function scrape(server: TestServer, world: World) {
  world.core.bus.flush();
  const answer = await server.ask("/metrics");
  assert.equal(answer.status, 200);
  assert.equal(answer.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
  const families = new Map(parsePrometheusTextFormat(answer.text).map((one) => [one.name, one]));
  const value = (name: string, labels: Readonly<Record<string, string>> = {}) => {
    const found = families
      .get(name)
      ?.metrics.find((one) =>
        Object.entries(labels).every(([key, text]) => one.labels?.[key] === text),
      );
    return found === undefined ? null : Number(found.value ?? found.count);
  };
  return { text: answer.text, families, value };
}

/** The metrics of a server on which everything that is counted has happened. */
async function busy(server: TestServer, world: World): Promise<string> {
  world.scheduler.set(issue("ENG-3"));
  await world.scheduler.advance(30_000);
  const run = world.scheduler.run("ENG-3");
  world.core.bus.flush();
  run.say(
    { type: "session.started", threadId: "th", resumed: false },
    { type: "turn.started", turnId: "1" },
    { type: "tokens", total: { ...noTokens, input: 9, output: 3, total: 12 } },
    { type: "turn.completed", turnId: "1" },
  );
  world.core.bus.flush();
  await run.end({ kind: "failed", code: "turn_failed", message: "boom" });
  const measure = { type: "tracker.request", kind: "linear" } as const;
  world.core.meter.report({ ...measure, outcome: "ok", remaining: 1_499 });
  await server.ask("/api/v1/ENG-1");
  await server.ask("/webhooks/linear", delivery("{}"));
  return (await scrape(server, world)).text;
}

/** That parser merges the series of a histogram with labels; symphony's parser, which a test compares with it, does not. */
function samplesOf(text: string, family: string) {
  return parseExposition(text).find(({ name }) => name === family)?.samples ?? [];
}

describe("GET /metrics", () => {
  test("counts issues, attempts, turns, tokens, polls and events", async () => {
    await using world = await createWorld({ issues: [issue("ENG-1"), issue("ENG-2")] });
    await using server = await serve(world);
    const { scheduler } = world;
    scheduler.set(issue("ENG-3"));
    await scheduler.advance(30_000);
    const run = scheduler.run("ENG-3");
    scheduler.clock.advance(2_000);
    world.core.bus.flush();
    run.say(
      { type: "session.started", threadId: "th", resumed: false },
      { type: "turn.started", turnId: "1" },
      { type: "tokens", total: { ...noTokens, input: 7, cachedInput: 2, output: 3, total: 10 } },
      { type: "tokens", total: { ...noTokens, input: 9, cachedInput: 2, output: 3, total: 12 } },
      { type: "turn.completed", turnId: "1" },
      { type: "turn.started", turnId: "2" },
      { type: "turn.failed", turnId: "2", message: "boom" },
    );
    world.core.bus.flush();
    scheduler.clock.advance(5_000);
    await run.end({ kind: "failed", code: "turn_failed", message: "boom" });
    const { value } = await scrape(server, world);
    assert.equal(value("symphony_issues", { status: "running" }), 2);
    assert.equal(value("symphony_issues", { status: "retrying" }), 1);
    assert.equal(value("symphony_attempts_total", { outcome: "failed", agent: "codex" }), 1);
    assert.equal(value("symphony_attempt_duration_seconds"), 1);
    assert.equal(value("symphony_turns_total", { outcome: "completed" }), 1);
    assert.equal(value("symphony_turns_total", { outcome: "failed" }), 1);
    const tokens = (direction: string) =>
      value("symphony_tokens_total", { direction, model: "default" });
    assert.deepEqual([tokens("input"), tokens("cached_input"), tokens("output")], [9, 2, 3]);
    assert.equal(value("symphony_polls_total", { outcome: "ok" }), 1);
    assert.equal(value("symphony_dispatch_latency_seconds"), 1);
    assert.equal(value("symphony_events_total", { type: "turn.completed" }), 1);
    assert.equal(value("symphony_build_info", { version: "1.2.3" }), 1);
  });

  test("counts polls by outcome, and the answers of a remote tracker", async () => {
    await using world = await createWorld({ issues: [issue("ENG-1")] });
    await using server = await serve(world);
    world.scheduler.readFails = "tracker_status";
    await world.scheduler.advance(30_000);
    world.scheduler.readFails = null;
    world.scheduler.problem = { code: "invalid_config", message: "bad file" };
    await world.scheduler.advance(30_000);
    const before = await scrape(server, world);
    assert.equal(before.value("symphony_tracker_rate_limit_remaining"), null);
    const request = { type: "tracker.request", kind: "linear" } as const;
    world.core.meter.report({ ...request, outcome: "ok", remaining: 1_499 });
    world.core.meter.report({ ...request, outcome: "tracker_status", remaining: null });
    const { value } = await scrape(server, world);
    assert.equal(value("symphony_polls_total", { outcome: "tracker_error" }), 1);
    assert.equal(value("symphony_polls_total", { outcome: "invalid_config" }), 1);
    assert.equal(value("symphony_tracker_requests_total", { kind: "linear", outcome: "ok" }), 1);
    assert.equal(value("symphony_tracker_requests_total", { outcome: "tracker_status" }), 1);
    assert.equal(value("symphony_tracker_rate_limit_remaining"), 1_499);
  });

  test("measures requests by the pattern of their route, and contains no issue and no raw path", async () => {
    await using world = await createWorld({ issues: [issue("ENG-1")] });
    await using server = await serve(world);
    await server.ask("/api/v1/ENG-1");
    await server.ask("/api/v1/NOBODY-77");
    await server.ask("/api/v1/ENG-1/abort", { method: "POST", body: {} });
    await server.ask("/api/v1/state", { method: "DELETE" });
    await server.ask("/etc/secret-path");
    await world.scheduler.run("ENG-1").end();
    const { text } = await scrape(server, world);
    const count = (route: string, method: string, status: string) =>
      samplesOf(text, "symphony_http_request_duration_seconds").find(
        ({ name, labels }) =>
          name.endsWith("_count") &&
          labels["route"] === route &&
          labels["method"] === method &&
          labels["status"] === status,
      )?.value;
    assert.equal(count("/api/v1/:id", "GET", "200"), 1);
    assert.equal(count("/api/v1/:id", "GET", "404"), 1);
    assert.equal(count("/api/v1/:id/abort", "POST", "202"), 1);
    assert.equal(count("/api/v1/state", "DELETE", "405"), 1);
    assert.equal(count("none", "GET", "404"), 1);
    assert.doesNotMatch(text, /ENG-1|NOBODY|secret-path/);
  });

  test("counts open event streams", async () => {
    await using world = await createWorld();
    await using server = await serve(world);
    const clients = async () => (await scrape(server, world)).value("symphony_sse_clients");
    assert.equal(await clients(), 0);
    const stop = new AbortController();
    const { url } = server.listening;
    const stream = await fetch(`${url}/api/v1/events`, { signal: stop.signal });
    assert.equal(await clients(), 1);
    stop.abort();
    await assert.rejects(stream.text());
    while ((await clients()) !== 0) await settled();
  });

  test("is well-formed: every family has help and type, histograms are consistent, default metrics are present", async () => {
    await using world = await createWorld({ issues: [issue("ENG-1")] });
    await using server = await serve(world);
    await server.ask("/api/v1/state");
    const { text, families } = await scrape(server, world);
    assert.ok(text.endsWith("\n"));
    for (const name of [
      "process_cpu_seconds_total",
      "process_resident_memory_bytes",
      "nodejs_eventloop_lag_p99_seconds",
      "symphony_sse_dropped_total",
    ]) {
      assert.ok(families.has(name), name);
    }
    for (const { name, help, type } of families.values()) {
      assert.ok(help && type !== "UNTYPED", name);
    }
    const http = samplesOf(text, "symphony_http_request_duration_seconds");
    const counts = http.filter(({ name }) => name.endsWith("_count"));
    const all = http.filter(({ labels }) => labels["le"] === "+Inf");
    assert.ok(counts.length > 0);
    assert.deepEqual(
      all.map(({ value }) => value),
      counts.map(({ value }) => value),
    );
  });

  test("counts webhook deliveries, and shows disk use as measured in the background", async () => {
    const root = await mkdtemp(join(tmpdir(), "symphony-bytes-"));
    await mkdir(join(root, "ENG-1"));
    await writeFile(join(root, "ENG-1", "big"), "x".repeat(100_000));
    const provider = { webhook_secret: webhookSecretValue };
    const settings = config({ workspace: { root }, tracker: { provider } });
    await using world = await createWorld({ issues: [issue("ENG-1")], config: settings });
    await using server = await serve(world);
    const { bus, workspaces, log } = world.core;
    const before = await scrape(server, world);
    assert.equal(before.value("symphony_workspace_bytes"), 0);
    const unfollow = followDiskUse(bus, workspaces, log);
    await world.scheduler.run("ENG-1").end();
    bus.flush();
    while (workspaces.measuredBytes === 0) await settled();
    unfollow();
    const genuine = delivery(issueEvent("id-ENG-1", world.scheduler.clock.wall()));
    for (const ask of [genuine, genuine, delivery("{}", { secret: "wrong" })]) {
      await server.ask("/webhooks/linear", ask);
    }
    const { value } = await scrape(server, world);
    assert.ok((value("symphony_workspace_bytes") ?? 0) >= 100_000);
    const deliveries = (outcome: string) => value("symphony_webhook_deliveries_total", { outcome });
    assert.deepEqual(["accepted", "duplicate", "unauthorized"].map(deliveries), [1, 1, 1]);
    await rm(root, { recursive: true });
  });

  test("counts pull requests, rounds of feedback, waiting writes, and the time to a merge", async () => {
    const hour = 3_600_000;
    await using world = await createWorld({ issues: [issue("ENG-1")] });
    await using server = await serve(world);
    const { bus, deliveries } = world.core;
    const wall = world.scheduler.clock.wall();
    const known = issue("ENG-9", { createdAt: wall - 30 * hour });
    // The tracker does not answer, so the writes wait.
    world.scheduler.readGate = new Promise(() => {});
    deliveries.moveTo(known, "Done", "one");
    deliveries.moveTo(known, "Done", "two");
    const about = { issueId: known.id, issueIdentifier: "ENG-9", message: "x" };
    const ofPull = { number: 7, url: "https://github.test/canary/pull/7" };
    bus.publish({ ...about, type: "pull_request.opened", data: ofPull });
    bus.publish({ ...about, type: "issue.retrying", data: { feedback_by: "person" } });
    bus.publish({ ...about, type: "issue.retrying", data: { attempt: 1 } });
    bus.publish({ ...about, type: "pull_request.merged", data: ofPull });
    bus.publish({ ...about, type: "pull_request.merged", data: { number: null } });
    bus.publish({ ...about, issueId: "unknown", type: "pull_request.merged", data: ofPull });
    const { text, value } = await scrape(server, world);
    const pulls = (event: string) => value("symphony_pull_requests_total", { event });
    assert.deepEqual(["opened", "merged", "closed"].map(pulls), [1, 2, null]);
    assert.equal(value("symphony_feedback_rounds_total", { by: "person" }), 1);
    assert.equal(value("symphony_outbox_waiting"), 2);
    const merge = samplesOf(text, "symphony_issue_to_merge_seconds");
    const upTo = (le: string) => merge.find(({ labels }) => labels["le"] === le)?.value;
    assert.deepEqual([upTo("86400"), upTo("172800")], [0, 2]);
    assert.equal(value("symphony_issues", { status: "review" }), 0);
    assert.doesNotMatch(text, /canary|ENG-9/);
  });

  test("measures the latency of a dispatch from the webhook that caused it", async () => {
    const settings = config({ tracker: { provider: { webhook_secret: webhookSecretValue } } });
    await using world = await createWorld({ config: settings });
    await using server = await serve(world);
    const { scheduler, core } = world;
    scheduler.set(issue("ENG-1"));
    const gate = Promise.withResolvers<void>();
    scheduler.readGate = gate.promise;
    await server.ask("/webhooks/linear", delivery(issueEvent("id-ENG-1", scheduler.clock.wall())));
    core.bus.flush();
    await scheduler.advance(3_000);
    gate.resolve();
    await scheduler.advance(0);
    core.bus.flush();
    scheduler.run("ENG-1").say({ type: "session.started", threadId: "th", resumed: false });
    const { text } = await scrape(server, world);
    const [sum] = samplesOf(text, "symphony_dispatch_latency_seconds").filter(({ name }) =>
      name.endsWith("_sum"),
    );
    assert.equal(sum?.value, 3);
  });

  test("contains every metric that the contract promises, with its labels and no issue in them", async () => {
    await using world = await createWorld({ issues: [issue("ENG-1"), issue("ENG-2")] });
    await using server = await serve(world);
    const text = await busy(server, world);
    const families = new Map(parseExposition(text).map((family) => [family.name, family]));
    for (const [name, labels] of Object.entries(promised)) {
      const family = families.get(`symphony_${name}`);
      assert.ok(family && family.samples.length > 0, name);
      for (const sample of family.samples) {
        const names = Object.keys(sample.labels).filter((label) => label !== "le");
        assert.deepEqual(names.toSorted(), labels, name);
      }
    }
    assert.doesNotMatch(text, /ENG-\d/);
  });

  test("passes promtool without a warning", { skip: withoutPromtool }, async () => {
    await using world = await createWorld({ issues: [issue("ENG-1"), issue("ENG-2")] });
    await using server = await serve(world);
    const text = await busy(server, world);
    const check = spawnSync("promtool", ["check", "metrics"], { input: text, encoding: "utf8" });
    assert.equal(check.status, 0, check.stderr);
    assert.equal(check.stderr, "");
  });

  test("is read the same by the command's parser", async () => {
    await using world = await createWorld({ issues: [issue("ENG-1")] });
    await using server = await serve(world);
    await server.ask("/api/v1/ENG-1");
    const { text, families } = await scrape(server, world);
    const own = parseExposition(text);
    assert.deepEqual(own.map(({ name }) => name).sort(), [...families.keys()].sort());
    for (const { name, help, type, samples } of own) {
      const expected = families.get(name);
      assert.deepEqual([help, type.toUpperCase()], [expected?.help, expected?.type]);
      if (type !== "histogram") {
        assert.deepEqual(
          samples.map((sample) => sample.value),
          expected?.metrics.map((one) =>
            one.value === "Nan" || one.value === "NaN" ? null : Number(one.value),
          ),
        );
      }
    }
    assert.equal(
      own
        .flatMap(({ lines }) => lines)
        .join("\n")
        .trim(),
      text.replaceAll(/\n+/g, "\n").trim(),
    );
  });

  test("is small with 1,000 issues", async () => {
    const issues = Array.from({ length: 1_000 }, (_, index) => issue(`ENG-${index}`));
    const settings = config({ agent: { maxConcurrentAgents: 10 } });
    await using world = await createWorld({ issues, config: settings });
    await using server = await serve(world);
    const first = await scrape(server, world);
    assert.equal(first.value("symphony_issues", { status: "queued" }), 990);
    assert.ok(first.text.length < 50_000, "series do not grow with issues");
  });
});
