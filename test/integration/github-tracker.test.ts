import { readFileSync } from "node:fs";
import { systemClock } from "../../src/core/clock.ts";
import { createGithubTracker } from "../../src/core/tracker/github/tracker.ts";
import { trackerContract } from "../core/tracker/contract.ts";
import { githubBench } from "../support/fakes/schema-github.ts";
import { config } from "../support/makers/issue.ts";

for (const as of ["token", "app"] as const) {
  trackerContract(
    { kind: "github", active: "Open", done: "Closed", unknownId: "724000001#9999" },
    async (t) => {
      const bench = await githubBench();
      t.after(() => bench[Symbol.asyncDispose]());
      const { github } = bench;
      const { tokens, app } = github.describe();
      const credential =
        as === "token" ? {} : { app: { id: app.id, private_key: "$GITHUB_TOKEN" } };
      const secret =
        as === "token" ? tokens["symphony-bot"] : readFileSync(app.private_key, "utf8");
      const tracker = createGithubTracker({
        config: config({
          tracker: {
            ...{ kind: "github", activeStates: ["Open"] },
            terminalStates: ["Closed", "Not planned", "Duplicate"],
            provider: { base_url: github.api, repositories: ["acme/app"], ...credential },
          },
        }).tracker,
        lookup: (name) => (name === "GITHUB_TOKEN" ? secret : undefined),
        clock: systemClock,
        writeGapMs: 0,
      });
      t.after(() => tracker.close());
      // What a session knows of an installation is not part of what the suite counts.
      await tracker.fetchIssuesByStates(["Open"]);
      return {
        ...{ tracker, driven: (work) => work, requests: () => github.requests.length },
        async add({ title, labels = [] }) {
          for (const name of labels) {
            const label = { rest: "POST /repos/acme/app/labels", body: { name, color: "ededed" } };
            await github.act({ ...label, as: "ada" }).catch(() => {});
          }
          const made = await github.act({ do: "issue", title, labels });
          return `724000001#${made.number}`;
        },
        fail(how) {
          const match = { path: "/issues/" };
          if (how === "server") github.faults.add({ kind: "status", status: 500, times: 3, match });
          else if (how === "limit") github.faults.add({ kind: "secondary", match });
          else github.faults.add({ kind: "malformed_json", match });
        },
      };
    },
  );
}
