import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { userInfo } from "node:os";
import { join } from "node:path";

// Under the temporary folder codex refuses to put its helpers there, and every sandboxed command fails.
// A checkout may lie there too, and the suite's own HOME is in the checkout: so the user's real home.
const cache = join(userInfo().homedir, ".cache", "symphony-tests");

export interface CodexHome extends AsyncDisposable {
  /** For CODEX_HOME. */
  readonly path: string;
  /** A directory for workspaces, outside the temporary folder as well. */
  readonly workspaces: string;
  /** For HOME: empty, so that nobody's login profile has a part in the test. */
  readonly userHome: string;
}

/** A private CODEX_HOME whose only model provider is at `url`; disposing removes it. */
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
