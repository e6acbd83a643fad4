import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type FakeOpenai, startFakeOpenai } from "../fakes/fake-openai.ts";
import { apiKey, ask, schemaLinear } from "../fakes/schema-linear.ts";
import { codexHome } from "../makers/codex-home.ts";
import { type TrackerFault, type Work, type World, workflowText } from "./world.ts";

type Steps = readonly Readonly<Record<string, unknown>>[];

const patch = "*** Begin Patch\n*** Add File: hello.txt\n+hello\n*** End Patch";

export interface Played {
  /** Sets the model's steps; steps that finish the issue are added. */
  play(...steps: Steps): Promise<void>;
  /** The model name of each request so far. */
  models(): Promise<readonly string[]>;
}

function finishing(moveToDone: object): Steps {
  return [
    { type: "apply_patch", patch, usage: { input: 1_200, output: 34 } },
    { type: "call", name: "linear_graphql", arguments: moveToDone },
    { type: "text", text: "I added hello.txt and moved the issue." },
  ];
}

/** The model's answer to each request, in order. */
function script(work: Work, moveToDone: object) {
  const finish = finishing(moveToDone);
  const steps: Readonly<Record<Work, Steps>> = {
    finish,
    nothing: finish.slice(1),
    listen: [{ type: "shell", cmd: "sleep 4" }, { type: "echo" }, ...finish],
    busy: [
      { type: "shell", cmd: "sleep 600" },
      { type: "hang", at: "created", sticky: true },
    ],
  };
  return {
    models: ["gpt-5.5"],
    routes: [{ when: { userText: "was interrupted" }, steps: finish }],
    steps: steps[work],
  };
}

const faults: Readonly<Record<TrackerFault, Readonly<Record<string, unknown>>>> = {
  "rate limited": { kind: "ratelimited", retryAfter: 1 },
  "server error": { kind: "server_error" },
  silence: { kind: "timeout", ms: 700 },
  "half a page": { kind: "malformed_json" },
};

/** What a journey does with the Linear that checks its schema, and with the script of its agent's model. */
export function playing(
  { linear, issue, stateId, update }: Awaited<ReturnType<typeof schemaLinear>>,
  openai: FakeOpenai,
): Played & Pick<World, "work" | "stateOf" | "move" | "failNext"> {
  const moveToDone = {
    query: `mutation { issueUpdate(id: "${issue.identifier}", input: { stateId: "${stateId("Done")}" }) { success } }`,
  };
  return {
    play: (...steps) =>
      openai.setScript({ models: ["gpt-5.5"], steps: [...steps, ...finishing(moveToDone)] }),
    models: async () => (await openai.requests()).map(({ model }) => model),
    work: (work) => openai.setScript(script(work, moveToDone)),
    async stateOf(identifier) {
      const query = `query($id: String!) { issue(id: $id) { state { name } } }`;
      const data = await ask<{ issue: { state: { name: string } } }>(linear.url, query, {
        id: identifier,
      });
      return data.issue.state.name;
    },
    async move(_issue, state) {
      await update({ stateId: stateId(state) });
    },
    async failNext(fault, times) {
      linear.faults.add({ ...faults[fault], times });
    },
  };
}

/** Linear's real schema and the real codex binary, whose model answers from a script. */
export async function equipmentWorld(): Promise<World & Played> {
  const codex = process.env["SYMPHONY_CODEX"];
  if (!codex) throw new Error("SYMPHONY_CODEX must name the codex binary");
  const tracker = await schemaLinear("Todo");
  const { linear, issue, project } = tracker;
  const openai = await startFakeOpenai([]);
  const home = await codexHome(openai.url);
  const root = await mkdtemp(join(tmpdir(), "symphony-journey-"));
  const at = (name: string) => join(root, name);
  const facts = {
    endpoint: linear.url,
    project: project.slugId,
    workspaces: home.workspaces,
    keptFile: at("kept-hello.txt"),
    codexCommand: `FAKE_MODEL_KEY=k '${codex}' app-server`,
    pollMs: 1_000,
  };
  await writeFile(at("WORKFLOW.md"), workflowText(facts));
  return {
    workflowPath: at("WORKFLOW.md"),
    dataDir: at("data"),
    env: { LINEAR_API_KEY: apiKey, HOME: home.userHome, CODEX_HOME: home.path },
    issue: issue.identifier,
    keptFile: facts.keptFile,
    workspaces: facts.workspaces,
    ...playing(tracker, openai),
    async [Symbol.asyncDispose]() {
      await linear.close();
      await openai.close();
      await home[Symbol.asyncDispose]();
      await rm(root, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}
