import { mkdirSync, realpathSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Step } from "../../../src/demo/script.ts";
import { origin } from "./git-repository.ts";

const agentFile = fileURLToPath(new URL("../../../src/demo/agent.ts", import.meta.url));

/** Edits, and ends its turn without a commit and without a move, as codex does at its default level. */
export const greet: readonly Step[] = [
  { do: "edit", path: "greet.sh", content: 'echo "Hello, $1!"\n' },
  { do: "edit", path: "one.txt", append: "changed\n" },
  { do: "say", text: "greet.sh takes a name. Fixes #12, thanks @mallory." },
];

interface Wish {
  /** Lines of YAML below `delivery`, each with its indentation. */
  readonly delivery?: string;
  /** Lines of YAML below `tracker`; without a `kind` it is the local one. */
  readonly tracker?: string;
  /** The turns of each issue by identifier. */
  readonly issues?: Readonly<Record<string, readonly (readonly Step[])[]>>;
  /** The address of the repository; by default a bare one on disk. */
  readonly url?: string;
  /** More lines of the repository's entry, each with its indentation. */
  readonly repository?: string;
  /** More lines of the front matter. */
  readonly front?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Another agent than the scripted one: its command and what it needs. */
  readonly codex?: {
    readonly command: string;
    readonly envPassthrough: readonly string[];
    /** Where the project is: codex has no sandbox below the temporary folder. */
    readonly parent: string;
  };
}

/** A project whose repository symphony clones, with the scripted agent. */
export async function deliveryProject(wish: Wish = {}) {
  const { delivery = "  poll_interval_ms: 1000", tracker = "", issues = {}, env = {} } = wish;
  const isLocal = !/^ {2}kind:/m.test(tracker);
  const root = realpathSync(
    await mkdtemp(join(wish.codex?.parent ?? tmpdir(), "symphony-delivery-")),
  );
  mkdirSync(join(root, "repository"));
  const bare = origin(join(root, "repository"));
  const parts = [process.execPath, agentFile, "--script", join(root, "script.json")];
  const scripted = [...parts, "--state", join(root, "agent")].map((part) => `"${part}"`).join(" ");
  const command = wish.codex?.command ?? scripted;
  const passed = JSON.stringify(wish.codex?.envPassthrough ?? []);
  await writeFile(
    join(root, "script.json"),
    JSON.stringify({ issues: { default: [greet], ...issues } }),
  );
  await writeFile(
    join(root, "WORKFLOW.md"),
    `---
tracker:
${isLocal ? "  kind: local\n" : ""}${tracker}
workspace: { root: ./workspaces }
polling: { interval_ms: ${isLocal ? 300 : 1000} }
host: { min_memory: 0, max_load: 0 }
git:
  repositories:
    - name: hello
      url: ${wish.url ?? bare}
${wish.repository ?? ""}
delivery:
${delivery}
codex: { command: ${JSON.stringify(command)}, read_timeout_ms: 30000, env_passthrough: ${passed} }
${wish.front ?? ""}
---
You are working on {{ issue.identifier }}: {{ issue.title }}
`,
  );
  return {
    ...{ root, bare, cwd: root, env: { HOME: root, ...env } },
    workflowPath: join(root, "WORKFLOW.md"),
    dataDir: join(root, ".symphony"),
    workspace: (name: string) => join(root, "workspaces", name),
    [Symbol.asyncDispose]: () => rm(root, { recursive: true, force: true, maxRetries: 5 }),
  };
}

export type DeliveryProject = Awaited<ReturnType<typeof deliveryProject>>;
