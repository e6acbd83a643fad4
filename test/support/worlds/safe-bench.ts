import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { CodexHomes } from "../../../src/core/agent/codex/home.ts";
import type { CodexConfig } from "../../../src/core/agent/codex/settings.ts";
import { startFakeOpenai } from "../fakes/fake-openai.ts";
import { codexHome } from "../makers/codex-home.ts";
import { Bench } from "./scripted-agent.ts";

const codex = process.env["SYMPHONY_CODEX"] ?? "";
/** A server's files on disk as an operator would have them, and the real codex. */
export async function safeBench(script: unknown, config: Partial<CodexConfig> = {}) {
  assert.ok(existsSync(codex), "set SYMPHONY_CODEX to the codex binary");
  await using owned = new AsyncDisposableStack();
  const openai = await startFakeOpenai(script);
  owned.defer(() => openai.close());
  const home = owned.use(await codexHome(openai.url));
  const { userHome, workspaces } = home;
  const dataDir = join(home.path, "..", "data");
  const secrets = {
    key: join(dataDir, "master.key"),
    token: join(dataDir, "runtime.json"),
    login: join(home.path, "auth.json"),
    other: join(workspaces, "ENG-2", "secret.txt"),
    ssh: join(userHome, ".ssh", "id"),
  };
  for (const file of Object.values(secrets)) {
    await mkdir(join(file, ".."), { recursive: true });
    await writeFile(file, file === secrets.login ? '{"OPENAI_API_KEY":"canary"}' : "canary");
  }
  const env = {
    PATH: process.env["PATH"],
    HOME: userHome,
    CODEX_HOME: home.path,
    FAKE_MODEL_KEY: "canary-model-key",
    ...canaries,
  };
  const homes = new CodexHomes({ env, dataDir, workspaceRoot: () => workspaces });
  const bench = new Bench(workspaces, {
    config: {
      command: `"${codex}" app-server`,
      envPassthrough: ["FAKE_MODEL_KEY", "BUILD_FLAVOUR"],
      ...config,
    },
    env,
    homes,
  });
  await mkdir(bench.workspace);
  const all = owned.move();
  return {
    bench,
    openai,
    secrets,
    dataDir,
    userHome,
    workspaces,
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

/** Variables that no agent may see, except `BUILD_FLAVOUR`. */
export const canaries: Readonly<Record<string, string>> = {
  ...Object.fromEntries(
    Array.from({ length: 40 }, (_, at) => [`CANARY_${at}_${at % 2 ? "TOKEN" : "PLAIN"}`, "canary"]),
  ),
  OPENAI_API_KEY: "canary",
  LINEAR_API_KEY: "canary",
  SYMPHONY_MASTER_KEY: "canary",
  BUILD_FLAVOUR: "blue",
};

/** Runs `cmd` as the model's command and resolves with its output. */
export async function output(
  t: Awaited<ReturnType<typeof safeBench>>,
  spec: Parameters<Bench["start"]>[0] = {},
) {
  await using session = await t.bench.start(spec);
  await session.turn("go", { model: null });
  return readFile(join(t.bench.workspace, "out.txt"), "utf8");
}

/** A model that runs `cmd` once, with its output in `out.txt`. */
export const shell = (cmd: string) => [
  { type: "shell", cmd: `{ ${cmd}\n} > out.txt 2>&1; sleep 0.4` },
  { type: "text", text: "ok" },
];
