import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { Issue } from "../../../src/core/model/issue.ts";
import { editorOf } from "../../../src/core/tracker/editor.ts";
import type { Tracker } from "../../../src/core/tracker/tracker.ts";

/** A tracker over a service of a test, with no issue yet, or with some that the suite does not touch. */
export interface TrackerWorld {
  readonly tracker: Tracker;
  /** Waits for real answers while it moves the time on. */
  readonly driven: <T>(work: Promise<T>) => Promise<T>;
  /** Makes an issue in the first active state. */
  add(fields: { readonly title: string; readonly labels?: readonly string[] }): Promise<string>;
  /** Requests that were sent to the service; null: there is none. */
  requests(): number | null;
  /** Breaks the next answers of the service: HTTP 500, 429 or text that is no answer; null: there is none. */
  readonly fail: ((how: "server" | "limit" | "garbage") => void) | null;
}

export interface TrackerFacts {
  readonly kind: string;
  /** A state in which work begins, and one that ends it. */
  readonly active: string;
  readonly done: string;
  /** An id of the service's form that no issue has. */
  readonly unknownId: string;
  /** No service is asked, so none can fail. */
  readonly isLocal?: boolean;
  /** The code of a service that fails inside; default `tracker_status`. */
  readonly broken?: "tracker_status" | "tracker_request";
  /** The order of the failures: nothing may be asked for a while after the last one. */
  readonly failures?: readonly ("server" | "garbage" | "limit")[];
}

const usualFailures = ["server", "garbage", "limit"] as const;

/** What every tracker has to do, over a world of its own for each test. */
export function trackerContract(
  {
    kind,
    active,
    done,
    unknownId,
    isLocal = false,
    broken = "tracker_status",
    failures = usualFailures,
  }: TrackerFacts,
  open: (t: TestContext) => Promise<TrackerWorld>,
): void {
  const read = async ({ tracker, driven }: TrackerWorld, id: string): Promise<Issue> => {
    const [issue] = await driven(tracker.fetchIssuesByIds([id]));
    assert.ok(issue, `the ${kind} tracker has ${id}`);
    return issue;
  };

  test(`T-2 (${kind}): an empty list in either read sends nothing`, async (t) => {
    const { tracker, requests } = await open(t);
    const before = requests();
    assert.deepEqual(await tracker.fetchIssuesByStates([]), []);
    assert.deepEqual(await tracker.fetchIssuesByIds([]), []);
    assert.equal(requests(), before);
  });

  test(`T-3, T-8, N-3 (${kind}): both reads give the same complete issue, and the same array while nothing changes`, async (t) => {
    const world = await open(t);
    const id = await world.add({ title: "Fix login", labels: ["Agent"] });
    const list = await world.driven(world.tracker.fetchIssuesByStates([active.toUpperCase()]));
    const listed = list.find((issue) => issue.id === id);
    assert.deepEqual(await read(world, id), listed);
    assert.deepEqual(
      [listed?.title, listed?.labels, listed?.dispatchable],
      ["Fix login", ["agent"], true],
    );
    assert.match(listed?.identifier ?? "", /^[A-Za-z0-9._-]+$/);
    assert.equal(await world.driven(world.tracker.fetchIssuesByStates([active])), list);
    assert.equal(world.tracker.kind, kind);
  });

  test(`T-4, T-5 (${kind}): ids are a set in the order asked for, and one that is unknown is left out`, async (t) => {
    const world = await open(t);
    const [a, b] = [await world.add({ title: "A" }), await world.add({ title: "B" })];
    const ids = [b, a, b, unknownId, "no id at all"];
    const found = await world.driven(world.tracker.fetchIssuesByIds(ids));
    assert.deepEqual(
      found.map((issue) => issue.id),
      [b, a],
    );
  });

  const failing = `T-7, T-9 (${kind}): a failure is one of the tracker's codes and never a shorter list`;
  const withService = isLocal ? () => {} : test;
  withService(failing, async (t: TestContext) => {
    const { tracker, driven, add, fail } = await open(t);
    const id = await add({ title: "A" });
    assert.ok(fail);
    const codes = {
      server: broken,
      limit: "tracker_rate_limited",
      garbage: "tracker_response",
    } as const;
    for (const how of failures) {
      fail(how);
      const failed = { code: codes[how] };
      await assert.rejects(driven(tracker.fetchIssuesByIds([id])), failed, how);
    }
  });

  test(`moves (${kind}): to a state of its own by any spelling, again without harm, and to no other`, async (t) => {
    const world = await open(t);
    const { tracker, driven } = world;
    const issue = await read(world, await world.add({ title: "A" }));
    const states = await driven(tracker.workflow.states(issue));
    assert.equal(states.find(({ name }) => name === done)?.terminal, true);
    assert.equal(states.find(({ name }) => name === active)?.terminal, false);
    await assert.rejects(driven(tracker.workflow.move(issue, "Nowhere")), {
      code: "transition_not_allowed",
      details: { allowed: states.map(({ name }) => name) },
    });
    await driven(tracker.workflow.move(issue, done.toLowerCase()));
    await driven(tracker.workflow.move(issue, done));
    assert.equal((await read(world, issue.id)).state, done);
    const ended = await driven(tracker.fetchIssuesByStates([done]));
    assert.ok(ended.some(({ id }) => id === issue.id));
    await driven(tracker.workflow.move(issue, active));
    assert.equal((await read(world, issue.id)).state, active);
    if (isLocal) return;
    const closed = await driven(editorOf(tracker).edit(issue, { state: done.toLowerCase() }));
    assert.deepEqual([closed.id, closed.state], [issue.id, done], "as symphony issue close does");
  });

  test(`find (${kind}): an issue by its identifier in any case, and none for any other text`, async (t) => {
    const world = await open(t);
    const { tracker, driven } = world;
    const issue = await read(world, await world.add({ title: "A" }));
    const found = await driven(tracker.find?.(issue.identifier.toUpperCase()) ?? fails());
    assert.deepEqual(found?.issue, issue);
    for (const other of ["", "nothing", "../x", "$(id)"]) {
      assert.equal(await driven(tracker.find?.(other) ?? fails()), null, other);
    }
  });

  test(`T-13 (${kind}): tools of a session reach their own issue, and their faults are answers`, async (t) => {
    const world = await open(t);
    const { tracker, driven } = world;
    const issue = await read(world, await world.add({ title: "A" }));
    const tools = tracker.bindTools(issue);
    assert.ok(tools.specs.length > 0);
    const before = world.requests();
    for (const [name, args] of [
      ["nothing", {}],
      [tools.specs[0]?.name ?? "", { query: 7, surprise: true }],
    ] as const) {
      const answer = await driven(tools.call(name, args));
      assert.equal(answer.success, false, name);
      assert.ok(JSON.parse(answer.output).error.message);
    }
    assert.equal(world.requests(), before, "bad arguments reach no service");
  });
}

function fails(): Promise<never> {
  return Promise.reject(new Error("the tracker cannot be asked for one issue"));
}
