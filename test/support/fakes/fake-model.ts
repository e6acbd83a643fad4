import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

export interface FakeModel extends AsyncDisposable {
  /** The base URL that the program reports for a client of its kind. */
  readonly url: string;
  /** Every request so far with its body. */
  requests(): Promise<unknown[]>;
  /** Replaces the script and resets the position of each conversation. */
  setScript(script: unknown): Promise<void>;
  close(): Promise<void>;
}

/**
 * Starts a scriptable model provider of the equipment (SYMPHONY_EQUIPMENT) as a separate process. With
 * `key` it refuses every other one.
 */
export async function startFakeModel(
  name: "fake-openai" | "fake-anthropic" | "fake-llm",
  script: unknown,
  key?: string,
): Promise<FakeModel> {
  const equipment = process.env["SYMPHONY_EQUIPMENT"];
  if (!equipment) throw new Error("set SYMPHONY_EQUIPMENT to the directory of the test equipment");
  const dir = await mkdtemp(join(tmpdir(), `symphony-${name}-`));
  const file = join(dir, "script.json");
  await writeFile(file, JSON.stringify(script));
  const program = join(equipment, name, `${name}.mjs`);
  const only = key === undefined ? [] : ["--key", key];
  const child = spawn(process.execPath, [program, "--script", file, ...only], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exited = once(child, "exit");
  const lines = createInterface({ input: child.stdout });
  const [first] = await Promise.race([once(lines, "line"), exited]);
  const { baseUrl: url }: { baseUrl: string } = JSON.parse(String(first));
  const control = (path: string, init?: RequestInit) => fetch(new URL(path, url), init);
  const close = async () => {
    child.kill("SIGKILL");
    await exited;
    await rm(dir, { recursive: true, force: true });
  };
  return {
    url,
    close,
    requests: async () => (await control("/__requests?full=1")).json() as Promise<unknown[]>,
    setScript: async (next) => {
      await control("/__script", { method: "POST", body: JSON.stringify(next) });
    },
    [Symbol.asyncDispose]: close,
  };
}
