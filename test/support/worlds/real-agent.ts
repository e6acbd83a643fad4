import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, rename, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { AcpConfig } from "../../../src/core/agent/acp/settings.ts";
import { type FakeModel, startFakeModel } from "../fakes/fake-model.ts";
import { canaryKey, type EvilAddress, evilAddress } from "../makers/hostile-files.ts";
import { AcpBench } from "./acp-bench.ts";

/** The path in an environment variable. These tests need the real programs. */
export function realProgram(variable: string): string {
  const path = process.env[variable] ?? "";
  assert.ok(existsSync(path), `set ${variable} to the real program (.ci/run fetches them all)`);
  return path;
}

export interface RealAgentParts {
  readonly variable: string;
  readonly fake: "fake-anthropic" | "fake-llm";
  readonly script: unknown;
  /** The shell line for a program. */
  command(program: string): string;
  /** `home` is writable and used only by this agent. */
  env(url: string, home: string): Readonly<Record<string, string>>;
  /** Writes the files that an operator would have in that home. */
  prepare?(url: string, home: string): Promise<void>;
  readonly config?: Partial<AcpConfig>;
  /** `acp.provider`. */
  provider?(url: string): AcpConfig["provider"];
}

/** A real agent of the Agent Client Protocol, its provider, and an address that must receive no request. */
export class RealAgent extends AcpBench {
  readonly model: FakeModel;
  readonly evil: EvilAddress;
  readonly home: string;

  constructor(
    made: ConstructorParameters<typeof AcpBench>,
    parts: { model: FakeModel; evil: EvilAddress; home: string },
  ) {
    super(...made);
    this.model = parts.model;
    this.evil = parts.evil;
    this.home = parts.home;
  }

  /**
   * gemini 0.61 names the record of a session by the minute of its begin, and overwrites it when the
   * session is loaded in that minute: its records get an earlier name.
   */
  async later(): Promise<void> {
    const dir = join(this.home, ".gemini", "tmp", "eng-1", "chats");
    const names = await readdir(dir).catch(() => []);
    for (const name of names) {
      await rename(join(dir, name), join(dir, name.replace(/T\d\d-\d\d/, "T00-00")));
    }
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    await this.model.close();
    await this.evil[Symbol.asyncDispose]();
    await super[Symbol.asyncDispose]();
  }
}

export async function realAgent(parts: RealAgentParts): Promise<RealAgent> {
  const program = realProgram(parts.variable);
  const model = await startFakeModel(parts.fake, parts.script);
  const evil = await evilAddress();
  const root = await mkdtemp(join(tmpdir(), "symphony-real-"));
  const home = join(root, "home");
  await mkdir(home);
  await parts.prepare?.(model.url, home);
  const env = parts.env(model.url, home);
  const options = {
    config: {
      command: parts.command(program),
      envPassthrough: Object.keys(env),
      writablePaths: [home],
      provider: parts.provider?.(model.url) ?? null,
      ...parts.config,
    },
    env: { PATH: `${dirname(process.execPath)}:${process.env["PATH"]}`, HOME: home, ...env },
  };
  const agent = new RealAgent([root, options], { model, evil, home });
  await mkdir(agent.workspace);
  return agent;
}

/** How each program is started and led to its provider. */
export const realParts = {
  claude: {
    variable: "SYMPHONY_CLAUDE_ACP",
    fake: "fake-anthropic",
    command: (program: string) => `exec "${process.execPath}" "${program}"`,
    env: (url: string, home: string) => ({
      ANTHROPIC_API_KEY: canaryKey,
      ANTHROPIC_BASE_URL: url,
      CLAUDE_CONFIG_DIR: home,
      CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1",
    }),
  },
  gemini: {
    variable: "SYMPHONY_GEMINI",
    fake: "fake-llm",
    command: (program: string) => `exec "${process.execPath}" "${program}" --acp -m gemini-2.5-pro`,
    env: (url: string) => ({ GEMINI_API_KEY: canaryKey, GOOGLE_GEMINI_BASE_URL: url }),
    config: { authMethod: "gemini-api-key" },
  },
  opencode: {
    variable: "SYMPHONY_OPENCODE",
    fake: "fake-llm",
    command: (program: string) => `exec "${program}" acp`,
    env: (url: string) => ({
      OC_KEY: canaryKey,
      OC_URL: `${url}/v1`,
      OPENCODE_DISABLE_AUTOUPDATE: "1",
      OPENCODE_DISABLE_MODELS_FETCH: "1",
    }),
    provider: (url: string) => ({
      ...{ baseUrl: `${url}/v1`, apiKey: "$OC_KEY", apiKeyHeader: "authorization" },
      ...{ baseUrlVariable: "OC_URL", apiKeyVariable: "OC_KEY" },
    }),
    prepare: async (_: string, home: string) => {
      const limit = { context: 100_000, output: 1_000 };
      const fake = {
        npm: "@ai-sdk/openai-compatible",
        options: { baseURL: "{env:OC_URL}", apiKey: "{env:OC_KEY}" },
        models: { m: { limit } },
      };
      const config = { model: "fake/m", small_model: "fake/m", provider: { fake } };
      const dir = join(home, ".config", "opencode");
      await mkdir(dir, { recursive: true });
      await writeFile(join(dir, "opencode.json"), JSON.stringify(config));
    },
  },
} as const satisfies Readonly<Record<string, Omit<RealAgentParts, "script">>>;

export const realAgents = {
  claude: (script: unknown) => realAgent({ ...realParts.claude, script }),
  gemini: (script: unknown) => realAgent({ ...realParts.gemini, script }),
  opencode: (script: unknown) => realAgent({ ...realParts.opencode, script }),
} as const;
