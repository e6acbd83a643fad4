import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import type { CodexConfig } from "../../../src/core/agent/codex/settings.ts";
import type { FakeClock } from "../fakes/fake-clock.ts";
import { type FakeOpenai, startFakeOpenai } from "../fakes/fake-openai.ts";
import { type CodexHome, codexHome } from "../makers/codex-home.ts";
import { Bench, type BenchOptions } from "./scripted-agent.ts";

const codex = process.env["SYMPHONY_CODEX"] ?? "";

/** The real codex in a home of its own, with a provider that follows a script. */
export class RealCodex extends Bench {
  readonly home: CodexHome;
  readonly openai: FakeOpenai;

  get model(): FakeOpenai {
    return this.openai;
  }

  constructor(home: CodexHome, openai: FakeOpenai, options: BenchOptions) {
    super(home.workspaces, options);
    this.home = home;
    this.openai = openai;
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    await this.openai.close();
    await this.home[Symbol.asyncDispose]();
  }
}

export interface RealCodexOptions {
  readonly config?: Partial<CodexConfig>;
  /** Flags before `app-server`. */
  readonly flags?: string;
  readonly clock?: FakeClock;
  /** Lines of its config.toml. */
  readonly settings?: string;
}

/** A workspace for the real codex, whose model follows `script`. */
export async function realCodex(
  script: unknown,
  options: RealCodexOptions = {},
): Promise<RealCodex> {
  assert.ok(existsSync(codex), "set SYMPHONY_CODEX to the codex binary");
  const openai = await startFakeOpenai(script);
  const home = await codexHome(openai.url, options.settings);
  const config = {
    command: `"${codex}"${options.flags ?? ""} app-server`,
    envPassthrough: ["FAKE_MODEL_KEY"],
    ...options.config,
  };
  const env = {
    HOME: home.userHome,
    CODEX_HOME: home.path,
    FAKE_MODEL_KEY: "k",
    LINEAR_API_KEY: "canary",
    OTHER_TOKEN: "canary",
  };
  const clock = options.clock ? { clock: options.clock } : {};
  const bench = new RealCodex(home, openai, { config, env, ...clock });
  await mkdir(bench.workspace);
  return bench;
}
