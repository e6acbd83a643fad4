import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { registerDataDir } from "../../../src/core/process/data-dirs.ts";

export const canary = "canary-of-a-login";

/** Files of a home that hold credentials, or what was typed. */
const ofTools = [
  ...[".ssh/id_ed25519", ".gnupg/private-keys-v1.d/key", ".netrc", ".git-credentials", ".pgpass"],
  ...[".my.cnf", ".mylogin.cnf", ".vault-token", ".password-store/team/db.gpg", ".age/key.txt"],
  ...[".config/sops/age/keys.txt", ".local/share/keyrings/login.keyring", ".config/op/config"],
  ...[".mozilla/firefox/x.default/logins.json", ".config/google-chrome/Default/Login Data"],
  ...[".config/chromium/Default/Cookies", ".thunderbird/x.default/logins.json"],
  ...[".bash_history", ".zsh_history", ".python_history", ".psql_history", ".node_repl_history"],
  ...[".aws/credentials", ".azure/accessTokens.json", ".config/gcloud/credentials.db"],
  ...[".config/doctl/config.yaml", ".config/hcloud/cli.toml", ".config/rclone/rclone.conf"],
  ...[".oci/config", ".fly/config.yml", ".terraform.d/credentials.tfrc.json", ".s3cfg", ".boto"],
  ...[
    ".kube/config",
    ".docker/config.json",
    ".config/containers/auth.json",
    ".config/gh/hosts.yml",
  ],
  ...[".config/glab-cli/config.yml", ".config/hub", ".npmrc", ".yarnrc.yml", ".pypirc"],
  ...[".config/pip/pip.conf", ".cargo/credentials.toml", ".gem/credentials", ".m2/settings.xml"],
  ...[".gradle/gradle.properties", ".composer/auth.json", ".claude.json", ".codex/auth.json"],
  ...[".claude/.credentials.json", ".gemini/oauth_creds.json", ".local/share/opencode/auth.json"],
  ...[".local/share/uv/credentials/credentials.toml", ".rye/credentials", ".aider.conf.yml"],
  ...[".pub-cache/credentials.json", ".dotnet/corefx/cryptography/x509stores/my/key.pfx"],
  ...["miniconda3/.condarc", ".config/goose/config.yaml", ".cursor/mcp.json", ".bunfig.toml"],
  ...[".config/github-copilot/hosts.json", ".huggingface/token", ".viminfo", ".env"],
];

/** Files of toolchains and caches, which every agent is shown. */
const ofToolchains = [
  ...[".nvm/versions/node/v24/README.md", ".cargo/registry/index", ".npm/_cacache/index-v5/aa"],
  ...[".local/share/mise/installs/x", ".asdf/plugins/x", ".m2/repository/a.pom", ".cache/pip/x"],
];

export interface Planted {
  /** Files that no agent may read. */
  readonly logins: readonly string[];
  /** Files that every agent may read. */
  readonly toolchains: readonly string[];
}

/**
 * A home as a developer has it: logins, toolchains, a project next to the agent's with its own symphony, and what
 * symphony keeps in the home. `apart` is a directory outside of the home for another project.
 */
export async function plantedHome(home: string, apart: string): Promise<Planted> {
  const [near, far] = [join(home, "neighbour"), join(apart, "far")];
  const logins = [
    ...ofTools.map((name) => join(home, name)),
    ...[near, far].flatMap((project) =>
      [
        ...[".env", ".env.local", ".symphony/master.key", ".symphony/token"],
        ...[".symphony/history.db", "work/OTHER-1/notes", ".npmrc"],
      ].map((name) => join(project, name)),
    ),
    join(home, ".symphony", "workspaces", "other", "OTHER-2", "notes"),
    join(home, ".symphony", "codex", "other", "home", "sessions", "thread.jsonl"),
    join(home, "notes.txt"),
  ];
  const toolchains = ofToolchains.map((name) => join(home, name));
  for (const file of [...logins, ...toolchains]) {
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, `${canary}\n`);
  }
  for (const project of [near, far]) {
    const place = { dataDir: join(project, ".symphony"), workspaceRoot: join(project, "work") };
    await registerDataDir(place, { HOME: home });
  }
  return { logins, toolchains };
}

/** A line that prints the path of each file that it can read. */
export function readingLine(files: readonly string[]): string {
  const words = files.map((file) => `'${file}'`).join(" ");
  return `for file in ${words}; do grep -q '${canary}' "$file" 2>/dev/null && echo "READ $file"; done; echo looked`;
}

/** A line that prints what a unix socket says, or why there is no way to it. */
export function connectingLine(socket: string): string {
  const connect = `connect(S, sockaddr_un($ARGV[0])) or die "no way: $!"`;
  return `perl -MSocket -e 'socket(S, PF_UNIX, SOCK_STREAM, 0); ${connect}; print <S>' '${socket}' 2>&1`;
}
