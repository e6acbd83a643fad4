import type { TestContext } from "node:test";
import { openLocalIssues } from "../../../src/core/tracker/local/issues.ts";
import { localOptions } from "../../../src/core/tracker/local/settings.ts";
import { createLocalTracker } from "../../../src/core/tracker/local/tracker.ts";
import { FakeClock } from "../../support/fakes/fake-clock.ts";
import { startFakeLinear } from "../../support/fakes/fake-linear.ts";
import { driven, linearTracker } from "../../support/fakes/linear-tracker.ts";
import { githubTracker, onBoard, startSmallGithub } from "../../support/fakes/small-github.ts";
import { config } from "../../support/makers/issue.ts";
import { temporaryDir } from "../../support/makers/storage.ts";
import { trackerContract } from "./contract.ts";

trackerContract(
  { kind: "local", active: "Todo", done: "Done", unknownId: "iss_none", isLocal: true },
  async (t: TestContext) => {
    const dataDir = temporaryDir(t);
    const settings = config().tracker;
    const clock = new FakeClock();
    const issues = openLocalIssues(dataDir, localOptions(settings), clock);
    const tracker = createLocalTracker({ config: settings, dataDir, clock });
    t.after(() => tracker.close());
    t.after(() => issues.close());
    return {
      ...{ tracker, driven: (work) => work, requests: () => null, fail: null },
      add: async ({ title, labels = [] }) => issues.create({ title, labels: [...labels] }).id,
    };
  },
);

trackerContract(
  {
    ...{ kind: "linear", active: "Todo", done: "Done" },
    unknownId: "00000000-0000-4000-8000-999999999999",
  },
  async (t: TestContext) => {
    const fake = await startFakeLinear();
    t.after(() => fake.close());
    const { tracker, clock } = linearTracker(fake);
    let number = 0;
    return {
      ...{ tracker, driven: (work) => driven(clock, work), requests: () => fake.requests.length },
      async add({ title, labels = [] }) {
        number += 1;
        const made = fake.add({ identifier: `ENG-${number}`, state: "Todo" });
        fake.change(made.identifier, { title, labels: [...labels] });
        return made.id;
      },
      fail(how) {
        if (how === "server") fake.fail({ kind: "status", times: 3 });
        else if (how === "limit") fake.fail({ kind: "ratelimited" });
        else fake.fail({ kind: "body", body: "[]" });
      },
    };
  },
);

trackerContract(
  { kind: "github", active: "Open", done: "Closed", unknownId: "7#999" },
  async (t: TestContext) => {
    const fake = await startSmallGithub();
    t.after(() => fake[Symbol.asyncDispose]());
    const { tracker, clock } = githubTracker(fake.url);
    t.after(() => tracker.close());
    return {
      ...{ tracker, driven: (work) => driven(clock, work), requests: () => fake.requests.length },
      async add({ title, labels = [] }) {
        return `7#${fake.add({ title, labels: [...labels] }).number}`;
      },
      fail(how) {
        const match = /\/issues\//;
        if (how === "server") fake.fail({ match, status: 500, times: 3 });
        else if (how === "limit") fake.fail({ match, status: 429 });
        else fake.fail({ match, body: "[]" });
      },
    };
  },
);

trackerContract(
  { kind: "github", active: "Todo", done: "Done", unknownId: "7#999" },
  async (t: TestContext) => {
    const fake = await startSmallGithub();
    t.after(() => fake[Symbol.asyncDispose]());
    const { tracker, clock } = githubTracker(fake.url, onBoard);
    t.after(() => tracker.close());
    return {
      ...{ tracker, driven: (work) => driven(clock, work), requests: () => fake.requests.length },
      async add({ title, labels = [] }) {
        const { number } = fake.add({ title, labels: [...labels] });
        fake.board.cards.set(number, { status: "Todo" });
        return `7#${number}`;
      },
      fail(how) {
        const match = /graphql/;
        if (how === "server") fake.fail({ match, status: 500, times: 3 });
        else if (how === "limit") fake.fail({ match, status: 429 });
        else fake.fail({ match, body: "[]" });
      },
    };
  },
);
