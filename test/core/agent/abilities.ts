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
  readonly tokens: "in mid-turn" | "at the end of a turn" | "never";
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
};

export const claude: Abilities = { ...codex, name: "claude", page: "claude.md" };

export const acp: Abilities = {
  ...codex,
  name: "acp",
  page: "acp.md",
  question: "no way to ask",
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

/** The scenarios of the suite: how their tests' names begin, and what the table of programs calls them. */
export const scenarios = {
  "start and turn": "Two turns in one session",
  steer: "Guidance",
  resume: "Another session on the same thread",
  "a thread that cannot be resumed": "A thread that is gone",
  approve: "Approved command",
  decline: "Declined command",
  question: "Question to a person",
  "abort: disposing": "Abort in mid-turn",
  "abort: by the signal": "Abort at the start",
  interrupt: "Interrupt, then another turn",
  "kill -9 of the agent": "kill -9 of the agent",
  "kill -9 of the host": "kill -9 of the server",
  limit: "Its provider's limit",
  budget: "Tokens in mid-turn",
  usage: "Tokens as the provider counts them",
  "a hostile workspace": "Hostile workspace",
  "hostile text": "Hostile text of an issue",
  "20 MB of output": "20 MB of output",
  "THREAT-18": "Fork bomb",
  "THREAT-19": "Disk fill",
} as const;
export type Scenario = keyof typeof scenarios;

/** A real program, run through the suite with a scripted provider. What is not run is reported as skipped, with the reason. */
export interface Program {
  readonly abilities: Abilities;
  /** What it cannot do, or what its provider cannot show in the time of a test. */
  readonly cannot: Reasons;
  /** What runs on request alone (`SYMPHONY_CONTRACT=whole`), to save time: the test that holds it otherwise. */
  readonly elsewhere: Reasons;
}

export type Reasons = Readonly<Partial<Record<Scenario, string>>>;

const inJourney = {
  "kill -9 of the host": "with scripted programs, and in journeys of the server",
} as const;
const isWhole = "with scripted programs";
const inRepository = "test/integration/hostile-repository.test.ts";
/** Starting these programs takes seconds. */
const slow: Reasons = {
  resume: "kill -9 of the agent",
  "a thread that cannot be resumed": isWhole,
  approve: "test/integration/acp-journeys.test.ts",
  "abort: disposing": "kill -9 of the agent",
  "abort: by the signal": isWhole,
  interrupt: isWhole,
  budget: isWhole,
  usage: "test/integration/acp-agents.test.ts",
  "a hostile workspace": inRepository,
  "hostile text": isWhole,
  "20 MB of output": isWhole,
};
const slower: Reasons = { ...slow, "THREAT-18": isWhole, "THREAT-19": isWhole };
const acpProgram: Abilities = { ...acp, page: "acp.md" };
const silentRetries = "it repeats a refused request for longer than a test waits";

export const realCodex: Program = { abilities: codex, cannot: inJourney, elsewhere: {} };

export const realClaude: Program = {
  abilities: claude,
  cannot: { ...inJourney, limit: "of a login: test/integration/claude.test.ts" },
  elsewhere: {
    "a thread that cannot be resumed": isWhole,
    "abort: by the signal": isWhole,
    "a hostile workspace": "test/integration/claude.test.ts",
    "hostile text": isWhole,
    "20 MB of output": isWhole,
  },
};

export const realClaudeAcp: Program = {
  abilities: { ...acpProgram, name: "claude-agent-acp" },
  cannot: {
    ...inJourney,
    question: "its adapter switches questions off",
    limit: silentRetries,
    // test/integration/acp-agents.test.ts
    usage: "exact, and it also counts the suggestions it asks for",
  },
  elsewhere: slow,
};

const noSubstitution = "its shell tool refuses `$(…)`, which the probe uses";

export const gemini: Program = {
  abilities: {
    ...acpProgram,
    name: "gemini",
    steer: "next turn",
  },
  cannot: {
    ...inJourney,
    question: "it asks none",
    limit: silentRetries,
    "20 MB of output": "its turn ends without an answer, and the next turn works",
    "THREAT-18": noSubstitution,
    "THREAT-19": noSubstitution,
  },
  elsewhere: slow,
};

export const opencode: Program = {
  abilities: { ...acpProgram, name: "opencode" },
  cannot: {
    ...inJourney,
    question: "it asks none",
    limit: silentRetries,
    usage: "it reports its last request alone: estimated, and an event says so",
  },
  elsewhere: slower,
};

/** Every program, in the order of the table. */
export const programs: readonly Program[] = [
  realCodex,
  realClaude,
  realClaudeAcp,
  gemini,
  opencode,
];
