import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

/** One request of codex to the model, as the fake saw it. */
export interface ModelRequest {
  readonly kind: string | null;
  readonly model: string;
  readonly step: string;
  readonly tools: readonly string[];
  readonly lastUser: string;
  readonly toolOutput?: string;
  readonly body: {
    readonly input: readonly Readonly<Record<string, unknown>>[];
    /** The id of the thread. */
    readonly prompt_cache_key?: string;
  };
}

export interface FakeOpenai extends AsyncDisposable {
  /** Base URL for a model provider, ending in `/v1`. */
  readonly url: string;
  requests(): Promise<ModelRequest[]>;
  /** Replaces the script and forgets how far each conversation was. */
  setScript(script: unknown): Promise<void>;
  close(): Promise<void>;
}

/** Starts the scriptable model provider of the equipment (SYMPHONY_EQUIPMENT) as a process of its own. */
export async function startFakeOpenai(script: unknown): Promise<FakeOpenai> {
  const equipment = process.env["SYMPHONY_EQUIPMENT"];
  if (!equipment) throw new Error("set SYMPHONY_EQUIPMENT to the directory of the test equipment");
  const dir = await mkdtemp(join(tmpdir(), "symphony-openai-"));
  const file = join(dir, "script.json");
  await writeFile(file, JSON.stringify(script));
  const program = join(equipment, "fake-openai", "fake-openai.mjs");
  const child = spawn(process.execPath, [program, "--script", file], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exited = once(child, "exit");
  const lines = createInterface({ input: child.stdout });
  const [first] = await Promise.race([once(lines, "line"), exited]);
  const { baseUrl: url } = JSON.parse(String(first));
  const control = (path: string, init?: RequestInit) => fetch(new URL(path, url), init);
  const close = async () => {
    child.kill("SIGKILL");
    await exited;
    await rm(dir, { recursive: true, force: true });
  };
  return {
    url,
    close,
    requests: async () => (await control("/__requests?full=1")).json() as Promise<ModelRequest[]>,
    setScript: async (next) => {
      await control("/__script", { method: "POST", body: JSON.stringify(next) });
    },
    [Symbol.asyncDispose]: close,
  };
}
