import assert from "node:assert/strict";
import { mkdirSync, realpathSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Step } from "../../../src/demo/script.ts";
import { eventually, type Served, symphony } from "../worlds/symphony.ts";
import { origin } from "./git-repository.ts";

const agentFile = fileURLToPath(new URL("../../../src/demo/agent.ts", import.meta.url));

/** Like codex at its default level: edits, commits nothing, and closes its issue. */
export const turn: readonly Step[] = [
  { do: "edit", path: "greet.sh", content: 'echo "Hello, $1!"\n' },
  { do: "edit", path: "one.txt", append: "changed\n" },
  { do: "say", text: "greet.sh takes a name." },
  { do: "tool", name: "issue_move", arguments: { state: "Done" } },
];

const idle: readonly Step[] = [{ do: "tool", name: "issue_move", arguments: { state: "Done" } }];

interface Wish {
  readonly hooks?: string;
  readonly afterCreate?: string;
  /** What the agent of LOCAL-1 does in each turn. */
  readonly turns?: readonly (readonly Step[])[];
  /** By default no copies are made: a workspace with work stays. */
  readonly keepMax?: number | string;
}

/** The workflow of README.md; `hooks` are added to its `after_create`. */
export async function project(wish: Wish = {}) {
  const { hooks = "", afterCreate, turns = [turn], keepMax = 0 } = wish;
  const root = realpathSync(await mkdtemp(join(tmpdir(), "symphony-kept-")));
  mkdirSync(join(root, "repository"));
  const bare = origin(join(root, "repository"));
  const parts = [process.execPath, agentFile, "--script", join(root, "script.json")];
  const command = [...parts, "--state", join(root, "agent")].map((part) => `"${part}"`).join(" ");
  const issues = { "LOCAL-1": turns, default: [idle] };
  await writeFile(join(root, "script.json"), JSON.stringify({ issues }));
  await writeFile(
    join(root, "WORKFLOW.md"),
    `---
tracker:
  kind: local
workspace: { root: ./workspaces, keep_max: ${keepMax} }
polling: { interval_ms: 300 }
hooks:
  after_create: ${afterCreate ?? `git clone --quiet '${bare}' .`}
${hooks}codex: { command: ${JSON.stringify(command)}, read_timeout_ms: 30000 }
---
You are working on {{ issue.identifier }}: {{ issue.title }}

When you are done, move the issue to Done with the tool issue_move.
`,
  );
  return {
    ...{ root, bare, cwd: root, env: { HOME: root } },
    workflowPath: join(root, "WORKFLOW.md"),
    dataDir: join(root, ".symphony"),
    workspace: (name: string) => join(root, "workspaces", name),
    [Symbol.asyncDispose]: () => rm(root, { recursive: true, force: true, maxRetries: 5 }),
  };
}

export type Place = Awaited<ReturnType<typeof project>>;

export async function create(place: Place, title: string): Promise<void> {
  const made = await symphony(place, "issue", "create", "--title", title);
  assert.equal(made.code, 0, made.stderr);
}

/** Resolves when an event says that the issue's workspace was kept or removed. */
export async function ended(server: Served, id: string): Promise<string> {
  return eventually(`${id} has ended with its workspace`, async () => {
    const { recent_events: events } = await server.client.issues.detail({ params: { id } });
    const last = events.find(({ event }) => /^workspace\.(kept|removed)$/.test(event));
    return last?.event;
  });
}
