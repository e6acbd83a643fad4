import { z } from "zod";
import { bytesOf, map, oneOf, positive, section, size, solidText, texts } from "./agents.ts";

/** How the work on an issue reaches its person. */
export interface DeliveryConfig {
  /** `none`: work stays in the workspace; `branch`: it is pushed; `pull_request`: it is also proposed. */
  readonly mode: "none" | "branch" | "pull_request";
  /** Pull requests are opened as drafts, and stay drafts until a person changes that. */
  readonly draft: boolean;
  /** Templates of text; they can use `issue` and `work`. */
  readonly titleTemplate: string;
  /** null: the agent's last message, in the repository's own template for pull requests. */
  readonly bodyTemplate: string | null;
  readonly commitTemplate: string;
  /** Commits of symphony end with `Signed-off-by:` and their author (the Developer Certificate of Origin). */
  readonly signOff: boolean;
  /** Commits of symphony are signed, with the program and key of the operator's git. */
  readonly signCommits: boolean;
  /** Author and committer; null: as git is configured for the user who runs the server. */
  readonly author: { readonly name: string; readonly email: string } | null;
  /** A file with more bytes is not pushed. */
  readonly maxFile: number;
  readonly allowWorkflows: boolean;
  readonly allowSubmodules: boolean;
  readonly allowLfs: boolean;
  /** Commands that must succeed on the exact commit before it is offered. */
  readonly checks: readonly string[];
  readonly checksTimeoutMs: number;
  /** Commands that write generated files again, by pattern of their paths. */
  readonly regenerate: Readonly<Record<string, string>>;
  /** Rounds of feedback without a word of a person, after which the issue is held. */
  readonly maxRounds: number;
  /** Logins of bots whose comments count as feedback, in lower case. */
  readonly feedbackFrom: readonly string[];
  readonly merge: "never" | "when_approved";
  /** Whether a pull request without any check may be merged by symphony. */
  readonly mergeWithoutChecks: boolean;
  readonly mergeMethod: "merge" | "squash" | "rebase";
  readonly conflicts: "warn" | "hold" | "order";
  readonly pollIntervalMs: number;
  /** As written: `$NAME` unresolved; only the code for the site reads it. */
  readonly github: Readonly<Record<string, unknown>>;
}

/** What happens to the issue after a turn that ended well. */
export type OnSuccess =
  /** The first state of a known name, such as In Review, if the team has one. */
  | { readonly kind: "auto" }
  /** The agent continues until it moves the issue itself. */
  | { readonly kind: "none" }
  | { readonly kind: "hold" }
  | { readonly kind: "state"; readonly name: string };

/** The states that work may wait in, in the order of preference; compared ignoring case. */
export const reviewStates: readonly string[] = ["In Review", "Human Review", "Review"];

const defaultTitle = "{{ issue.identifier }}: {{ issue.title }}";
const defaultCommit = "{{ issue.title }}\n\nIssue: {{ issue.identifier }}";
const author = z.strictObject(
  { name: solidText, email: solidText },
  "must be a map of name and email",
);

/** How work is delivered. */
export const deliverySection = section({
  mode: oneOf("none", "branch", "pull_request").optional(),
  draft: z.boolean("must be true or false").default(false),
  title_template: solidText.nullable().default(null),
  body_template: solidText.nullable().default(null),
  commit_template: solidText.nullable().default(null),
  sign_off: z.boolean("must be true or false").default(false),
  sign_commits: z.boolean("must be true or false").default(false),
  author: author.nullable().default(null),
  max_file: size.refine((value) => value !== 0, "must be greater than 0").default(10 * 2 ** 20),
  allow_workflows: z.boolean("must be true or false").default(false),
  allow_submodules: z.boolean("must be true or false").default(false),
  allow_lfs: z.boolean("must be true or false").default(false),
  checks: z.array(solidText, "must be a list of commands").max(20).default([]),
  checks_timeout_ms: positive.default(600_000),
  regenerate: z.record(solidText, solidText, "must be a map of patterns and commands").default({}),
  max_rounds: positive.default(5),
  feedback_from: texts.default([]),
  merge: oneOf("never", "when_approved").default("never"),
  merge_without_checks: z.boolean("must be true or false").default(false),
  merge_method: oneOf("merge", "squash", "rebase").default("squash"),
  conflicts: oneOf("warn", "hold", "order").default("warn"),
  poll_interval_ms: positive.min(1_000, "must be at least 1000").default(60_000),
  github: map.default({}),
});

/** The effective settings; without `mode`, work on a repository that symphony cloned is pushed. */
export function deliveryConfigOf(
  written: z.output<typeof deliverySection>,
  hasRepositories: boolean,
): DeliveryConfig {
  return {
    mode: written.mode ?? (hasRepositories ? "branch" : "none"),
    draft: written.draft,
    titleTemplate: written.title_template ?? defaultTitle,
    bodyTemplate: written.body_template,
    commitTemplate: written.commit_template ?? defaultCommit,
    signOff: written.sign_off,
    signCommits: written.sign_commits,
    author: written.author,
    maxFile: bytesOf(written.max_file),
    allowWorkflows: written.allow_workflows,
    allowSubmodules: written.allow_submodules,
    allowLfs: written.allow_lfs,
    checks: written.checks,
    checksTimeoutMs: written.checks_timeout_ms,
    regenerate: written.regenerate,
    maxRounds: written.max_rounds,
    feedbackFrom: written.feedback_from.map((login) => login.trim().toLowerCase()),
    merge: written.merge,
    mergeWithoutChecks: written.merge_without_checks,
    mergeMethod: written.merge_method,
    conflicts: written.conflicts,
    pollIntervalMs: written.poll_interval_ms,
    github: written.github,
  };
}

/** `tracker.on_success` in its effective form. */
export function onSuccessOf(written: string | null, mode: DeliveryConfig["mode"]): OnSuccess {
  const word = written?.trim() ?? "";
  if (word === "") return { kind: mode === "none" ? "none" : "auto" };
  const lower = word.toLowerCase();
  if (lower === "none" || lower === "hold") return { kind: lower };
  return { kind: "state", name: word };
}

/** The name of the secret that symphony signs in with: a token, or the key of its App. */
export function forgeCredentialName({ github }: DeliveryConfig): string {
  const { token, app } = github;
  const [name] = [keyOf(app), token].flatMap(secretNameOf);
  return name ?? "GITHUB_TOKEN";
}

function keyOf(app: unknown): unknown {
  return typeof app === "object" && app !== null ? Reflect.get(app, "private_key") : null;
}

function secretNameOf(value: unknown): string[] {
  const name = typeof value === "string" ? value.trim() : "";
  return name.startsWith("$") ? [name.slice(1)] : [];
}

/** Names of the secrets that the site needs: agents and hooks never get them. */
export function forgeSecretNames({ github }: DeliveryConfig): string[] {
  const { token, app, webhook_secret: webhook } = github;
  const named = [token, keyOf(app), webhook].flatMap(secretNameOf);
  return ["GITHUB_TOKEN", "GITHUB_WEBHOOK_SECRET", ...named];
}
