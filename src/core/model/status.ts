/** symphony's own view of an issue; the tracker's own state name is a different thing. */
export const statuses = [
  "queued",
  "running",
  "retrying",
  "blocked",
  "held",
  "failed",
  "completed",
] as const;

export type IssueStatus = (typeof statuses)[number];
