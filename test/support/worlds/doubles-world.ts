import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Step } from "../../../src/demo/script.ts";
import { type FakeFault, startFakeLinear } from "../fakes/fake-linear.ts";
import { type TrackerFault, type Work, type World, workflowText } from "./world.ts";

const agentFile = fileURLToPath(new URL("../../../src/demo/agent.ts", import.meta.url));

const moveToDone = {
  query: 'mutation { issueUpdate(id: "ENG-1", input: { stateId: "state-Done" }) { success } }',
};

const finish: readonly Step[] = [
  { do: "edit", path: "hello.txt", content: "hello\n" },
  { do: "commit", message: "Say hello" },
  { do: "tokens", input: 1_200, output: 34 },
  { do: "say", text: "I added hello.txt." },
  { do: "tool", name: "linear_graphql", arguments: moveToDone },
];

const turns: Readonly<Record<Work, readonly (readonly Step[])[]>> = {
  finish: [finish],
  nothing: [
    [
      { do: "say", text: "Nothing is to be changed." },
      { do: "tool", name: "linear_graphql", arguments: moveToDone },
    ],
  ],
  listen: [[{ do: "say", text: "Listening." }, { do: "waitForSteer", ms: 30_000 }, ...finish]],
  busy: [
    [
      { do: "say", text: "A long one." },
      { do: "run", command: "sleep 600" },
    ],
    finish,
  ],
};

const faults: Readonly<Record<TrackerFault, FakeFault>> = {
  "rate limited": { kind: "ratelimited", headers: { "retry-after": "1" } },
  "server error": { kind: "status", status: 500 },
  silence: { kind: "reset" },
  "half a page": { kind: "cut" },
};

export interface Played {
  /** Sets the agent's turns; a turn that finishes the issue is added. */
  play(...own: readonly (readonly Step[])[]): Promise<void>;
}

/** A small Linear in this process and symphony's scripted agent. */
export async function doublesWorld(): Promise<World & Played> {
  const root = await mkdtemp(join(tmpdir(), "symphony-journey-"));
  const linear = await startFakeLinear({ issues: [{ identifier: "ENG-1", state: "Todo" }] });
  const at = (name: string) => join(root, name);
  const workspaces = at("workspaces");
  const keptFile = at("kept-hello.txt");
  const workflowPath = at("WORKFLOW.md");
  await mkdir(workspaces);
  const parts = [
    process.execPath,
    agentFile,
    "--script",
    at("script.json"),
    "--state",
    at("agent"),
  ];
  const text = workflowText({
    endpoint: linear.url,
    project: linear.project,
    workspaces,
    keptFile,
    codexCommand: parts.map((part) => `"${part}"`).join(" "),
    pollMs: 1_000,
  });
  await writeFile(workflowPath, text);
  return {
    workflowPath,
    dataDir: at("data"),
    env: { LINEAR_API_KEY: linear.apiKey, HOME: root },
    issue: "ENG-1",
    keptFile,
    workspaces,
    play: (...own) =>
      writeFile(at("script.json"), JSON.stringify({ issues: { "ENG-1": [...own, finish] } })),
    work: (work) =>
      writeFile(at("script.json"), JSON.stringify({ issues: { "ENG-1": turns[work] } })),
    async stateOf(issue) {
      return linear.issues.find(({ identifier }) => identifier === issue)?.state ?? "";
    },
    async move(issue, state) {
      linear.setState(issue, state);
    },
    async failNext(fault, times) {
      linear.fail({ ...faults[fault], times });
    },
    async [Symbol.asyncDispose]() {
      await linear.close();
      await rm(root, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}
