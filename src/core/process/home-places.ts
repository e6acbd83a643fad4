import { join } from "node:path";

/*
 * What is where in a person's home: the logins that no agent may read, whatever else is shown around
 * them, and the toolchains and caches that every agent is shown.
 */

/** Where tools store credentials, and where shells and tools keep what was typed. */
const logins: readonly string[] = [
  // Keys
  ...[".ssh", ".gnupg", ".age", ".config/age", ".config/sops", ".password-store", ".vault-token"],
  ...[".local/share/keyrings", ".local/share/kwalletd", ".local/share/gopass", ".config/op"],
  ...[".config/Bitwarden", ".config/Bitwarden CLI", ".config/keepassxc", ".pki", ".putty"],
  // Clouds
  ...[".aws", ".azure", ".config/gcloud", ".oci", ".aliyun", ".bluemix", ".boto", ".s3cfg"],
  ...[".config/doctl", ".config/hcloud", ".config/scw", ".config/linode-cli", ".config/rclone"],
  ...[".config/heroku", ".fly", ".vercel", ".config/vercel", ".local/share/com.vercel.cli"],
  ...[".cloudflared", ".ngrok2", ".config/ngrok", ".config/tailscale", ".config/stripe"],
  ...[".supabase", ".config/configstore", ".sentryclirc", ".config/ibmcloud", ".config/nats"],
  ...[".config/netlify", ".wrangler", ".config/.wrangler", ".railway", ".kaggle", ".databrickscfg"],
  ...[".terraform.d/credentials.tfrc.json", ".terraformrc", ".pulumi/credentials.json"],
  ...[".kube", ".config/helm", ".docker", ".config/containers/auth.json", ".config/argocd"],
  // Sites with repositories
  ...[".netrc", "_netrc", ".git-credentials", ".config/git/credentials", ".config/gh"],
  ...[
    ".config/hub",
    ".config/glab-cli",
    ".config/tea",
    ".config/github-copilot",
    ".gitconfig.local",
  ],
  // Registries of packages
  ...[
    ".npmrc",
    ".yarnrc",
    ".yarnrc.yml",
    ".config/pnpm",
    ".bunfig.toml",
    ".pypirc",
    ".pip/pip.conf",
  ],
  ...[".config/pip/pip.conf", ".config/pypoetry/auth.toml", ".cargo/credentials"],
  ...[".cargo/credentials.toml", ".cargo/config.toml", ".gem/credentials", ".bundle/config"],
  ...[".m2/settings.xml", ".m2/settings-security.xml", ".gradle/gradle.properties"],
  ...[".composer/auth.json", ".config/composer/auth.json", ".nuget/NuGet/NuGet.Config"],
  // In directories of toolchains, which are shown.
  ...[".local/share/uv/credentials", ".rye/credentials", ".pub-cache/credentials.json"],
  ...[".dotnet/corefx", ".config/dart/pub-credentials.json", ".anaconda/navigator"],
  ...["miniconda3", "miniforge3", "mambaforge", "anaconda3"].map((name) => `${name}/.condarc`),
  ...[".sbt/.credentials", ".ivy2/.credentials", ".condarc", ".hex/hex.config"],
  // Databases
  ...[".pgpass", ".my.cnf", ".mylogin.cnf", ".mongorc.js", ".dbshell", ".snowsql/config"],
  // Agents and models
  ...[".claude/.credentials.json", ".claude.json", ".codex/auth.json", ".gemini/oauth_creds.json"],
  ...[".local/share/opencode/auth.json", ".config/anthropic", ".config/openai", ".huggingface"],
  ...[".cache/huggingface/token", ".cache/huggingface/stored_tokens", ".aider.conf.yml"],
  ...[
    ".config/aichat",
    ".config/goose",
    ".config/crush",
    ".config/zed",
    ".config/io.datasette.llm",
  ],
  ...[".continue", ".cursor", ".codeium", ".config/Cursor", ".config/Code", ".config/Windsurf"],
  ...[
    ".local/share/goose",
    ".local/share/crush",
    ".config/mods",
    ".config/fabric",
    ".ollama/id_ed25519",
  ],
  ...[".qwen/oauth_creds.json", ".amp", ".config/amp", ".factory", ".copilot", ".wakatime.cfg"],
  ...[".config/JetBrains", ".local/share/JetBrains", ".vscode-server/data", ".jupyter"],
  // Browsers and mail
  ...[".mozilla", ".config/mozilla", ".thunderbird", ".config/google-chrome", ".config/chromium"],
  ...[".config/BraveSoftware", ".config/microsoft-edge", ".config/vivaldi", ".config/opera"],
  ...[".config/Slack", ".config/Signal", ".config/discord", ".mutt", ".msmtprc", ".mbsyncrc"],
  // What was typed
  ...[
    ".bash_history",
    ".zsh_history",
    ".zhistory",
    ".histfile",
    ".sh_history",
    ".local/share/fish",
  ],
  ...[
    ".python_history",
    ".node_repl_history",
    ".psql_history",
    ".mysql_history",
    ".rediscli_history",
  ],
  ...[".sqlite_history", ".irb_history", ".lesshst", ".viminfo", ".wget-hsts", ".env", ".envrc"],
  ...[".config/fish/fish_variables", ".local/state/bash", ".local/state/zsh"],
  // macOS
  ...["Library/Keychains", "Library/Cookies", "Library/Safari", "Library/Mail", "Library/Messages"],
  ...["Library/Containers", "Library/Group Containers", "Library/Application Support"],
];

/**
 * Programs and downloaded packages, without the settings of their tools. A directory that is not there costs one look
 * for each attempt.
 */
const toolchains: readonly string[] = [
  // Version managers, which put programs and links to them in different places.
  ...[".nvm", ".fnm", ".local/share/fnm", ".volta/bin", ".volta/tools", ".n/bin", ".nodenv"],
  ...[".asdf", ".local/share/mise", ".local/share/rtx", ".local/share/aquaproj-aqua", ".proto"],
  ...[".pyenv", ".rbenv", ".rvm", ".goenv", ".jenv", ".sdkman/candidates", ".phpenv", ".plenv"],
  ...[".local/share/uv", ".local/pipx", ".local/share/pipx", ".local/share/hatch", ".rye"],
  ...["miniconda3", "miniforge3", "mambaforge", "anaconda3", ".juliaup", ".julia/packages"],
  // Compilers and runtimes
  ...[".cargo/bin", ".cargo/env", ".cargo/registry", ".cargo/git", ".rustup", "go/bin", "go/pkg"],
  ...["sdk", ".bun/bin", ".bun/install", ".deno/bin", ".dotnet", ".ghcup/bin", ".ghcup/ghc"],
  ...[".elan", ".opam", ".nix-profile", ".local/share/pnpm", ".foundry/bin"],
  // Caches of packages
  ...[".npm/_cacache", ".cache/node", ".cache/yarn", ".cache/pnpm", ".yarn/berry", ".pnpm-store"],
  ...[".cache/pip", ".cache/uv", ".cache/pypoetry/cache", ".cache/go-build", ".cache/deno"],
  ...[".cache/composer", ".composer/cache", ".m2/repository", ".m2/wrapper", ".gradle/caches"],
  ...[".gradle/wrapper", ".ivy2/cache", ".sbt/boot", ".nuget/packages", ".hex/packages"],
  ...[".cache/ms-playwright", ".cache/puppeteer", ".cache/Cypress", ".cache/pre-commit"],
  ...[".cache/bazelisk", ".cache/ccache", ".cache/sccache", ".cache/electron", ".pub-cache"],
  // macOS
  ...["Library/pnpm", "Library/Python", "Library/Java/JavaVirtualMachines", ".orbstack/bin"],
  ...[
    "pip",
    "uv",
    "pypoetry",
    "go-build",
    "deno",
    "Yarn",
    "ms-playwright",
    "Cypress",
    "electron",
  ].map((name) => `Library/Caches/${name}`),
];

/** Where an operator's logins may be in a home; most of them are not there. */
export function loginsIn(home: string): readonly string[] {
  return logins.map((name) => join(home, name));
}

/** Where toolchains may be in a home; most of them are not there. */
export function toolchainsIn(home: string): readonly string[] {
  return toolchains.map((name) => join(home, name));
}
