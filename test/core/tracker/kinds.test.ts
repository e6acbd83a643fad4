import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock } from "../../../src/core/clock.ts";
import { type Measure, Meter } from "../../../src/core/events/meter.ts";
import { TrackerInUse } from "../../../src/core/tracker/in-use.ts";
import { type TrackerKind, trackerKinds } from "../../../src/core/tracker/kinds.ts";
import type { TrackerDeps } from "../../../src/core/tracker/tracker.ts";
import { startFakeLinear } from "../../support/fakes/fake-linear.ts";
import { tinyTracker } from "../../support/fakes/tiny-kinds.ts";
import { config } from "../../support/makers/issue.ts";
import { temporaryDir } from "../../support/makers/storage.ts";

const settingsOf = (kind: string, provider = {}) => config({ tracker: { kind, provider } }).tracker;

function deps(dataDir: string, env: Readonly<Record<string, string>> = {}): TrackerDeps {
  return { dataDir, clock: systemClock, lookup: (name) => env[name] };
}

test("W-14: a kind that is not in the table is refused, with the list of known kinds", async (t) => {
  const trackers = new TrackerInUse(trackerKinds, deps(temporaryDir(t)));
  for (const kind of ["future-tracker", "123", "constructor"]) {
    await assert.rejects(trackers.check(settingsOf(kind)), {
      code: "unsupported_tracker_kind",
      message: new RegExp(kind),
      details: { path: "tracker.kind", kind, supported: trackerKinds.map((row) => row.kind) },
      hint: /^set tracker\.kind to linear, /,
    });
  }
});

test("a setting of another kind of tracker is refused by its name", async (t) => {
  const env = { LINEAR_API_KEY: "k" };
  const trackers = new TrackerInUse(trackerKinds, deps(temporaryDir(t), env));
  const refused = async (kind: string, provider: object, key: string, other: string) =>
    assert.rejects(trackers.check(settingsOf(kind, provider)), {
      code: "invalid_tracker_config",
      message: `tracker.provider.${key} is a setting of ${other}, and tracker.kind is ${kind}`,
      details: { path: `tracker.provider.${key}` },
    });
  for (const key of ["team", "projects", "filter", "view", "assignee", "delegate"]) {
    await refused("local", { [key]: "x" }, key, "linear");
  }
  await refused("linear", { project_slug: "a79254768c8f", prefix: "ENG" }, "prefix", "local");
  await trackers.check(settingsOf("local", { prefix: "ENG", future: 1 }));
});

test("the tracker of a row reads with its settings, and each request is measured", async (t) => {
  await using fake = await startFakeLinear({ issues: [{ identifier: "ENG-1", state: "Todo" }] });
  const measures: Measure[] = [];
  const meter = new Meter();
  meter.listen((measure) => measures.push(measure));
  const env = { LINEAR_API_KEY: fake.apiKey };
  const trackers = new TrackerInUse(trackerKinds, { ...deps(temporaryDir(t), env), meter });
  const settings = settingsOf("linear", { endpoint: fake.url, project_slug: fake.project });
  await trackers.check(settings);
  trackers.follow(settings);
  try {
    const [issue] = await trackers.tracker.fetchIssuesByStates(["Todo"]);
    assert.equal(issue?.identifier, "ENG-1");
    assert.equal(trackers.localIssues, null);
    const [measure] = measures;
    assert.ok(measure?.type === "tracker.request", JSON.stringify(measure));
    assert.deepEqual([measure.kind, measure.outcome], ["linear", "ok"]);
  } finally {
    trackers.close();
  }
});

test("a changed configuration makes a new tracker, the same one keeps it, a refused one changes nothing", async (t) => {
  const loads: string[] = [];
  const counted = ({ load, ...row }: TrackerKind): TrackerKind => ({
    ...row,
    async load() {
      loads.push(row.kind);
      return load();
    },
  });
  const rows = [...trackerKinds, tinyTracker(new Map())].map(counted);
  const trackers = new TrackerInUse(rows, deps(temporaryDir(t)));
  const local = settingsOf("local");
  await trackers.check(local);
  trackers.follow(local);
  try {
    const first = trackers.tracker;
    assert.notEqual(trackers.localIssues, null);
    trackers.follow({ ...local });
    assert.equal(trackers.tracker, first);
    await assert.rejects(trackers.check(settingsOf("tiny")), { code: "invalid_tracker_config" });
    await assert.rejects(trackers.check(settingsOf("linear")), { code: "missing_tracker_secret" });
    assert.equal(trackers.tracker, first);
    const tiny = settingsOf("tiny", { board: "main" });
    await trackers.check(tiny);
    trackers.follow(tiny);
    assert.deepEqual([trackers.tracker.kind, trackers.localIssues], ["tiny", null]);
    await trackers.check(tiny);
    assert.deepEqual(loads, ["local", "tiny", "linear"], "each is loaded once, when it is chosen");
  } finally {
    trackers.close();
  }
});
