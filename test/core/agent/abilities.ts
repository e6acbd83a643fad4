/** What one kind of agent can do. The contract suite holds each kind to it, and the table of docs/agents/README.md shows it. */
export interface Abilities {
  /** As the table names it. */
  readonly name: string;
  /** Its page in docs/agents. */
  readonly page: string;
  /** `next turn`: guidance is accepted, is not reported as delivered, and opens the next turn. */
  readonly steer: "in mid-turn" | "next turn";
  /** `never`: a command runs without a question, whatever `agent.approvals` is. */
  readonly approve: "each command it asks for" | "each command outside the sandbox" | "never";
  /** Whether a question of the agent reaches a person. */
  readonly question: "answered by a person" | "no way to ask";
  /** `new thread`: an earlier thread is not resumed, and the next prompt stands alone. */
  readonly resume: "same thread" | "new thread";
  /** Where its program runs. */
  readonly process: "one for a session" | "one for a turn" | "inside the server";
  /** How it reports its provider's limit; `a failed turn`: it is not known as a limit. */
  readonly limit: "until its reset" | "a failed turn";
  /** When its tokens are known; `never`: no token brake holds it. */
  readonly tokens: "in mid-turn" | "never";
  /** What becomes of a command with 20 MB of output, which agents mostly shorten themselves. */
  readonly flood: "shortened" | "ends the turn in one message";
}

export const codex: Abilities = {
  name: "codex",
  page: "codex.md",
  steer: "in mid-turn",
  approve: "each command it asks for",
  question: "answered by a person",
  resume: "same thread",
  process: "one for a session",
  limit: "until its reset",
  tokens: "in mid-turn",
  flood: "shortened",
};

export const claude: Abilities = { ...codex, name: "claude", page: "claude.md" };

export const acp: Abilities = {
  ...codex,
  name: "acp",
  page: "acp.md",
  question: "no way to ask",
  flood: "ends the turn in one message",
};

export const openai: Abilities = {
  ...codex,
  name: "openai",
  page: "openai.md",
  approve: "each command outside the sandbox",
  process: "inside the server",
};

export const command: Abilities = {
  ...codex,
  name: "command, `output: jsonl`",
  page: "command.md",
  approve: "never",
  question: "no way to ask",
  process: "one for a turn",
};

export const plain: Abilities = {
  ...command,
  name: "command, `output: text`",
  steer: "next turn",
  resume: "new thread",
  limit: "a failed turn",
  tokens: "never",
};

/** Every kind, in the order of the table. */
export const allAbilities: readonly Abilities[] = [codex, claude, acp, openai, command, plain];
