/** Credentials as tools keep them in the user's home: not for an agent to read. */
export const keptSecrets: readonly string[] = [
  ".ssh",
  ".aws",
  ".azure",
  ".gnupg",
  ".kube",
  ".docker",
  ".netrc",
  ".npmrc",
  ".pypirc",
  ".git-credentials",
  ".config/git/credentials",
  ".config/gh",
  ".config/gcloud",
  ".cargo/credentials.toml",
  ".claude/.credentials.json",
  ".claude.json",
];
