import type { Place } from "./symphony.ts";

/** What the agent does with the world's one issue. */
export type Work =
  /** Adds `hello.txt`, moves the issue to Done with the tracker's tool, ends its turn. */
  | "finish"
  /** Moves the issue to Done and changes no file. */
  | "nothing"
  /** Works for some seconds, then prints the guidance that it has received. */
  | "listen"
  /** Runs a command for ten minutes; the turn after that finishes. */
  | "busy";

/** How a tracker can fail: too many requests, an error, no answer, an incomplete answer. */
export type TrackerFault = "rate limited" | "server error" | "silence" | "half a page";

export const trackerFaults: readonly TrackerFault[] = [
  "rate limited",
  "server error",
  "silence",
  "half a page",
];

/** The surroundings of one `symphony serve`: a Linear with one issue in Todo, an agent, a workflow file. */
export interface World extends Place, AsyncDisposable {
  /** `ENG-…`, in Todo. */
  readonly issue: string;
  /** The path to which `after_run` copied `hello.txt`. */
  readonly keptFile: string;
  readonly workspaces: string;
  work(work: Work): Promise<void>;
  stateOf(issue: string): Promise<string>;
  move(issue: string, state: string): Promise<void>;
  /** Makes the tracker's next `times` answers fail. */
  failNext(fault: TrackerFault, times: number): Promise<void>;
}

export interface WorkflowFacts {
  readonly endpoint: string;
  readonly project: string;
  readonly workspaces: string;
  readonly keptFile: string;
  readonly codexCommand: string;
  readonly pollMs: number;
}

/** The workflow file of a journey. */
export function workflowText(facts: WorkflowFacts): string {
  return `---
tracker:
  kind: linear
  provider:
    endpoint: ${JSON.stringify(facts.endpoint)}
    api_key: $LINEAR_API_KEY
    project_slug: ${JSON.stringify(facts.project)}
polling:
  interval_ms: ${facts.pollMs}
workspace:
  root: ${JSON.stringify(facts.workspaces)}
  keep_max: 0
hooks:
  after_create: git init --quiet --initial-branch=main .
  after_run: cp hello.txt '${facts.keptFile}' 2>/dev/null || true
agent:
  max_retry_backoff_ms: 1000
codex:
  command: ${JSON.stringify(facts.codexCommand)}
  read_timeout_ms: 30000
---
Work on {{ issue.identifier }}: {{ issue.title }}
`;
}
