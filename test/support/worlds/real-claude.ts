import { glob, mkdir, mkdtemp, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type FakeModel, startFakeModel } from "../fakes/fake-model.ts";
import { canaryKey } from "../makers/hostile-files.ts";
import { ClaudeBench, type ClaudeBenchOptions } from "./claude-bench.ts";
import { realProgram } from "./real-agent.ts";

/** The real Claude Code with a provider that follows a script. */
export class RealClaude extends ClaudeBench {
  readonly model: FakeModel;

  constructor(root: string, model: FakeModel, options: ClaudeBenchOptions) {
    super(root, options);
    this.model = model;
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    await this.model.close();
    await super[Symbol.asyncDispose]();
  }
}

export async function realClaude(
  script: unknown,
  { key, ...options }: ClaudeBenchOptions & { readonly key?: string } = {},
): Promise<RealClaude> {
  const program = realProgram("SYMPHONY_CLAUDE");
  const model = await startFakeModel("fake-anthropic", script, key);
  const root = await mkdtemp(join(tmpdir(), "symphony-real-claude-"));
  const made = new RealClaude(root, model, {
    secrets: { ANTHROPIC_API_KEY: canaryKey },
    ...options,
    config: {
      command: program,
      envPassthrough: ["ANTHROPIC_BASE_URL"],
      login: "api_key",
      ...options.config,
    },
    env: { ANTHROPIC_BASE_URL: model.url, ...options.env },
  });
  await mkdir(made.workspace);
  return made;
}

/** The record of a session below its CLAUDE_CONFIG_DIR. The program writes it a little after it has reported something. */
export async function recordOf(home: string, thread: string): Promise<string> {
  const files = glob(join(home, ".symphony/claude/*/*/config/projects/*", `${thread}.jsonl`));
  const texts = (await Array.fromAsync(files)).map((file) => readFile(file, "utf8"));
  return (await Promise.all(texts)).join("");
}
