import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { userInfo } from "node:os";
import { join } from "node:path";

// In the temporary folder codex does not install its helper programs, and every sandboxed command fails.
// A checkout may be in that folder, and the suite's HOME is in the checkout; so the user's real home is used.
const cache = join(userInfo().homedir, ".cache", "symphony-tests");

export interface CodexHome extends AsyncDisposable {
  /** For CODEX_HOME. */
  readonly path: string;
  /** A directory for workspaces, outside the temporary folder as well. */
  readonly workspaces: string;
  /** For HOME: empty, so that no login profile affects the test. */
  readonly userHome: string;
}

/** A private CODEX_HOME with one model provider, at `url`; disposing removes it. */
export async function codexHome(url: string, settings = ""): Promise<CodexHome> {
  await mkdir(cache, { recursive: true });
  const root = await mkdtemp(join(cache, "codex-"));
  const [path, workspaces, userHome] = ["home", "workspaces", "user"].map((name) =>
    join(root, name),
  );
  if (!path || !workspaces || !userHome) throw new Error("unreachable");
  for (const dir of [path, workspaces, userHome]) await mkdir(dir);
  await writeFile(join(path, "config.toml"), configToml(url, settings));
  return {
    path,
    workspaces,
    userHome,
    [Symbol.asyncDispose]: () => rm(root, { recursive: true, force: true, maxRetries: 5 }),
  };
}

function configToml(url: string, settings: string): string {
  return `model = "gpt-5.5"
model_provider = "fake"
web_search = "disabled"
${settings}
[model_providers.fake]
name = "Fake"
base_url = ${JSON.stringify(url)}
wire_api = "responses"
env_key = "FAKE_MODEL_KEY"

[features]
plugins = false
apps = false
multi_agent = false
goals = false
`;
}
