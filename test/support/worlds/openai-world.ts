import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type FakeOpenai, startFakeOpenai } from "../fakes/fake-openai.ts";
import { apiKey, schemaLinear } from "../fakes/schema-linear.ts";
import { type Played, playing } from "./equipment-world.ts";
import { type Served, symphony } from "./symphony.ts";
import { type World, workflowText } from "./world.ts";

/** Linear's real schema and the built-in agent, whose model answers from a script. */
export async function openaiWorld(): Promise<World & Played> {
  const tracker = await schemaLinear("Todo");
  const { linear, issue, project } = tracker;
  const openai = await startFakeOpenai([]);
  const root = await mkdtemp(join(tmpdir(), "symphony-journey-"));
  const at = (name: string) => join(root, name);
  await mkdir(at("home"));
  const facts = {
    endpoint: linear.url,
    project: project.slugId,
    workspaces: at("workspaces"),
    keptFile: at("kept-hello.txt"),
    codexCommand: "no such program",
    pollMs: 1_000,
  };
  const text = workflowText(facts).replace("agent:\n", "agent:\n  kind: openai\n");
  const section = `openai:\n  base_url: ${JSON.stringify(openai.url)}\ncodex:\n`;
  await writeFile(at("WORKFLOW.md"), text.replace("codex:\n", section));
  return {
    workflowPath: at("WORKFLOW.md"),
    dataDir: at("data"),
    env: { LINEAR_API_KEY: apiKey, OPENAI_API_KEY: "sk-test-0123456789", HOME: at("home") },
    issue: issue.identifier,
    keptFile: facts.keptFile,
    workspaces: facts.workspaces,
    ...playing(tracker, openai),
    async [Symbol.asyncDispose]() {
      await linear.close();
      await openai.close();
      await rm(root, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

/** A new project with the local tracker and the built-in agent: a workflow file and a key. */
export class LocalProject implements AsyncDisposable {
  readonly root: string;
  readonly openai: FakeOpenai;
  readonly workflowPath: string;
  readonly dataDir: string;
  readonly workspaces: string;
  readonly env: Record<string, string>;

  private constructor(root: string, openai: FakeOpenai) {
    this.root = root;
    this.openai = openai;
    this.workflowPath = join(root, "WORKFLOW.md");
    this.dataDir = join(root, "data");
    this.workspaces = join(root, "workspaces");
    this.env = { OPENAI_API_KEY: "sk-test-0123456789", HOME: join(root, "home") };
  }

  static async make(settings = ""): Promise<LocalProject> {
    const openai = await startFakeOpenai([]);
    const made = new LocalProject(await mkdtemp(join(tmpdir(), "symphony-local-")), openai);
    await mkdir(join(made.root, "home"));
    await writeFile(
      made.workflowPath,
      `---
tracker: {kind: local}
polling: {interval_ms: 300}
host: {min_memory: 0, max_load: 0}
workspace: {root: ${JSON.stringify(made.workspaces)}}
hooks:
  after_create: git init --quiet --initial-branch=main .
  after_run: cp hello.txt ../../kept.txt || true
agent: {kind: openai, max_retry_backoff_ms: 1000}
openai:
  base_url: ${JSON.stringify(openai.url)}
${settings}
---
Work on {{ issue.identifier }}: {{ issue.title }}
`,
    );
    return made;
  }

  async addIssue(title: string): Promise<string> {
    const { code, stdout, stderr } = await symphony(
      this,
      "issue",
      "create",
      "--title",
      title,
      "--json",
    );
    if (code !== 0) throw new Error(stderr);
    const { identifier } = JSON.parse(stdout) as { identifier: string };
    return identifier;
  }

  /** Null until the issue is completed. */
  async completed(server: Served, issue: string) {
    const { completed } = await server.client.system.state({});
    return completed.find((row) => row.issue_identifier === issue) ?? null;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.openai.close();
    await rm(this.root, { recursive: true, force: true, maxRetries: 5 });
  }
}
