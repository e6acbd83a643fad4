import type { Issue } from "../model/issue.ts";

/** What a template is previewed with when nobody names an issue: every field has a value. */
export const sampleIssue: Issue = {
  id: "sample-1",
  nativeRef: {},
  identifier: "SAMPLE-1",
  title: "Add a health check",
  description: "GET /health answers 200 once the database can be reached.",
  priority: 2,
  state: "Todo",
  branchName: "sample-1-add-a-health-check",
  url: "https://tracker.example/SAMPLE-1",
  assigneeId: "person-1",
  labels: ["backend", "feature"],
  blockedBy: [{ id: "sample-0", identifier: "SAMPLE-0", state: "Done" }],
  dispatchable: true,
  createdAt: Date.UTC(2026, 0, 5, 9),
  updatedAt: Date.UTC(2026, 0, 6, 14, 30),
};
