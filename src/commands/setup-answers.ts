import { createInterface } from "node:readline";
import type { InstalledAgent } from "../core/agent/installed.ts";
import { knownPrograms } from "../core/agent/installed.ts";
import { systemClock } from "../core/clock.ts";
import { SymphonyError, withHint } from "../core/model/errors.ts";
import {
  loadTracker,
  requireTrackerKind,
  type TrackerKind,
  trackerKinds,
} from "../core/tracker/kinds.ts";
import type { ScopeProject } from "../core/tracker/tracker.ts";
import type { CommandContext } from "./context.ts";
import { appendsOnly } from "./output.ts";
import { offered } from "./setup-facts.ts";
import { type AgentChoice, builtIn, type FoundRepository, type SetupChoice } from "./setup-file.ts";
import { providerAddress, withProvider } from "./setup-provider.ts";

/** What was typed; undefined is asked for, or chosen with `--yes`. */
export interface Answers {
  readonly tracker: string | undefined;
  readonly project: string | undefined;
  readonly endpoint: string | undefined;
  readonly agent: string | undefined;
  readonly level: SetupChoice["level"] | undefined;
  /** The address of the built-in agent's provider. */
  readonly provider: string | undefined;
  /** The model of the built-in agent. */
  readonly model: string | undefined;
}

/** Keys by name: those that are stored or set, and those that were typed just now. */
export interface Keys {
  lookup(name: string): string | undefined;
  has(name: string): boolean;
  /** Keeps a key that was typed. */
  learn(name: string, value: string): void;
}

export interface Asking {
  readonly answers: Answers;
  readonly keys: Keys;
  readonly installed: readonly InstalledAgent[];
  /** That of the directory. */
  readonly repository: FoundRepository | null;
  readonly dataDir: string;
  readonly dryRun: boolean;
  readonly context: CommandContext;
}

/** Every answer that is missing, in one error: without a terminal nothing is asked. Throws `usage`. */
export function requireAnswers(answers: Answers, context: CommandContext): void {
  if (context.yes || context.interactive) return;
  const kind = trackerKinds.find((one) => one.kind === answers.tracker);
  const missing = [
    ...(answers.tracker === undefined ? [`--tracker ${kindsText}`] : []),
    ...(kind?.setup.projectKey && answers.project === undefined ? ["--project ID"] : []),
    ...(answers.agent === undefined ? [`--agent ${agentsText}`] : []),
    ...(answers.level === undefined ? ["--level safe|networked"] : []),
  ];
  if (missing.length === 0) return;
  const also =
    answers.tracker === undefined ? `; a tracker with projects also needs --project ID` : "";
  const message = `there is no terminal to ask on, and these are missing: ${missing.join(", ")}${also}`;
  throw new SymphonyError("usage", message, {
    details: { missing: missing.map((one) => one.split(" ")[0]) },
    hint: "give them, or let symphony choose: symphony init --yes",
  });
}

const kindsText = trackerKinds.map(({ kind }) => kind).join("|");
const agentsText = [...knownPrograms.map(({ name }) => name), builtIn.name].join("|");

/** At most four questions: tracker, project, agent, level; a key that is missing takes the place of the last. */
export async function chooseAll(asking: Asking): Promise<Omit<SetupChoice, "repository">> {
  const { answers } = asking;
  // Before any question: without an agent there is nothing to set up.
  const agents = agentsToOffer(asking);
  const tracker = await chooseTracker(asking);
  const { project, wasKeyTyped } = await chooseProject(tracker, asking);
  const chosen = await chooseAgent(agents, asking);
  const isBuiltIn = chosen.name === builtIn.name;
  const { agent, wasAsked } = isBuiltIn
    ? await withProvider(asking, modelChooser(wasKeyTyped, asking))
    : { agent: chosen, wasAsked: false };
  const level = await chooseLevel(agent, wasKeyTyped || (wasAsked && project !== null), asking);
  return { tracker, project, endpoint: answers.endpoint ?? null, agent, level };
}

/** null: the model is not asked for. */
function modelChooser(wasKeyTyped: boolean, { context }: Asking) {
  if (wasKeyTyped || context.yes || !context.interactive) return null;
  return (models: readonly string[]) => {
    const choices = models.map((value) => ({ name: value, value }));
    return select("Which model?", choices, context);
  };
}

function agentsToOffer(asking: Asking): readonly AgentChoice[] {
  const { answers, installed, keys, dryRun, context } = asking;
  const all = offered(installed, keys.has, providerAddress(asking));
  const isOfBuiltIn = answers.provider !== undefined || answers.model !== undefined;
  const wanted = answers.agent ?? (isOfBuiltIn ? builtIn.name : undefined);
  if (isOfBuiltIn && wanted !== builtIn.name) {
    throw new SymphonyError("usage", "--provider and --model belong to the built-in agent", {
      hint: "symphony init --agent openai, or leave them out",
    });
  }
  if (wanted === builtIn.name) return [builtIn];
  const found = all.find(({ name }) => name === wanted);
  if (wanted !== undefined && found !== undefined) return [found];
  const others = all.map(({ name }) => name).join(" or ");
  if (wanted !== undefined && !dryRun) {
    throw new SymphonyError(
      "agent_not_found",
      `${wanted} is not installed: the login shell finds no program of that name`,
      {
        hint:
          others === ""
            ? `install ${wanted}, then symphony init`
            : `install ${wanted}, or choose what is there: --agent ${others}`,
      },
    );
  }
  if (all.length > 0 && wanted === undefined) return all;
  const message =
    "no agent was found: the login shell finds no codex, claude, gemini or opencode, and there is no OPENAI_API_KEY or OPENAI_BASE_URL";
  if (!dryRun) {
    throw new SymphonyError("agent_not_found", message, {
      hint: "install one, such as: npm install --global @openai/codex, or export OPENAI_API_KEY; then symphony init",
    });
  }
  context.note(
    wanted === undefined ? `${message}; the file below is for codex` : `${wanted} is not installed`,
  );
  return knownPrograms.filter(({ name }) => name === (wanted ?? "codex"));
}

async function chooseTracker({ answers, context }: Asking): Promise<TrackerKind> {
  if (answers.tracker !== undefined) return requireTrackerKind(trackerKinds, answers.tracker);
  const free = trackerKinds.toSorted(
    (a, b) => Number(a.setup.keyName !== null) - Number(b.setup.keyName !== null),
  );
  const [first] = free;
  if (context.yes && first !== undefined) return first;
  const choices = free.map((value) => ({ name: `${value.kind}: ${value.setup.title}`, value }));
  return select("Where do issues come from?", choices, context);
}

async function chooseProject(
  tracker: TrackerKind,
  asking: Asking,
): Promise<{ readonly project: string | null; readonly wasKeyTyped: boolean }> {
  const { answers, keys, context, dryRun } = asking;
  const { projectKey, keyName } = tracker.setup;
  if (projectKey === null) {
    if (answers.project === undefined) return { project: null, wasKeyTyped: false };
    const message = `the ${tracker.kind} tracker has no projects`;
    throw new SymphonyError("usage", message, { hint: "leave --project out" });
  }
  const isMissing = keyName !== null && !keys.has(keyName);
  if (isMissing && context.interactive && !dryRun) await typeKey(keyName, tracker, asking);
  const wasKeyTyped = isMissing && context.interactive && !dryRun;
  if (answers.project !== undefined) return { project: answers.project, wasKeyTyped };
  if (keyName !== null && !keys.has(keyName)) {
    throw new SymphonyError(
      "missing_tracker_secret",
      `${tracker.setup.title} needs ${keyName} to list what there is`,
      {
        hint: `export ${keyName}, from ${tracker.setup.keyFrom}, or name the ${wordOf(tracker)}: --project ID`,
      },
    );
  }
  const found = await projectsOf(tracker, asking).catch((error: unknown) => {
    if (!(error instanceof SymphonyError) || error.hint !== null) throw error;
    const hint = `check the network and HTTPS_PROXY, or name the ${wordOf(tracker)}: --project ID`;
    throw withHint(error, hint);
  });
  const own = found.find(({ id }) => isAddressOf(asking.repository, id));
  const projects = own === undefined ? found : [own, ...found.filter((one) => one !== own)];
  const plain = projects.filter(({ isBoard }) => isBoard !== true);
  const sure = own ?? (plain.length === 1 ? plain[0] : undefined);
  if (sure !== undefined && context.yes) return { project: sure.id, wasKeyTyped };
  if (context.yes || projects.length === 0) throw noProject(tracker, projects, answers);
  const choices = projects.map(({ id, name }) => ({
    name: name === id ? id : `${name} (${id})`,
    value: id,
  }));
  return { project: await select(`Which ${wordOf(tracker)}?`, choices, context), wasKeyTyped };
}

/** Whether the repository of the directory is the project: `acme/app` of `git@github.com:acme/app.git`. */
function isAddressOf(repository: FoundRepository | null, project: string): boolean {
  const path = repository?.url.replace(/\/?(?:\.git)?\/?$/, "").toLowerCase() ?? "";
  return path.endsWith(`/${project.toLowerCase()}`) || path.endsWith(`:${project.toLowerCase()}`);
}

function wordOf({ setup }: TrackerKind): string {
  return setup.projectWord ?? "project";
}

function noProject(
  tracker: TrackerKind,
  projects: readonly ScopeProject[],
  { endpoint, agent, level }: Answers,
): SymphonyError {
  if (projects.length === 0) {
    const message = `the key sees no ${wordOf(tracker)} of ${tracker.setup.title}`;
    return new SymphonyError("usage", message, {
      hint: "make one there, or use a key that sees it",
    });
  }
  const some = projects.slice(0, 10).map(({ id, name }) => `${id} (${name})`);
  const given = Object.entries({ endpoint, agent, level }).flatMap(([name, value]) =>
    value === undefined ? [] : [` --${name} ${value}`],
  );
  return new SymphonyError(
    "usage",
    `--project is missing, and there are several: ${some.join(", ")}`,
    {
      hint: `symphony init --yes --tracker ${tracker.kind} --project ${projects[0]?.id}${given.join("")}`,
    },
  );
}

async function projectsOf(tracker: TrackerKind, { answers, keys, dataDir }: Asking) {
  const { keyName, siteKeys } = tracker.setup;
  const adapter = await loadTracker(trackerKinds, tracker);
  const provider =
    siteKeys === null
      ? {}
      : {
          ...(keyName !== null && { [siteKeys.credential]: `$${keyName}` }),
          ...(answers.endpoint !== undefined && { [siteKeys.address]: answers.endpoint }),
        };
  const deps = { dataDir, clock: systemClock, lookup: keys.lookup };
  return (await adapter.projects?.(provider, deps)) ?? [];
}

/** Typed without being shown. */
async function typeKey(
  name: string,
  { setup }: TrackerKind,
  { keys, context }: Asking,
): Promise<void> {
  const { password } = await import("@inquirer/prompts");
  const from = setup.keyFrom === null ? "" : ` (from ${setup.keyFrom})`;
  const message = `${name}${from}, stored as a secret:`;
  const value = await password(
    { message, mask: !appendsOnly(context.env) },
    { input: context.stdin, output: context.stderr },
  );
  if (value.trim() === "") throw new SymphonyError("usage", `${name} is empty`);
  keys.learn(name, value.trim());
}

async function chooseAgent(
  agents: readonly AgentChoice[],
  { context, installed, answers }: Asking,
): Promise<AgentChoice> {
  const [first] = agents;
  if (first === undefined) throw new SymphonyError("agent_not_found", "no agent was found");
  // One that is left is no question.
  const isChosen = answers.agent !== undefined || agents.length === 1;
  if (isChosen || context.yes || !context.interactive) return first;
  const choices = agents.map((value) => {
    const found = installed.find(({ program }) => program.name === value.name);
    const login =
      found === undefined
        ? ""
        : found.login === null
          ? `, no login yet: ${found.program.login}`
          : found.login === "unseen"
            ? ", its login may be in a keyring"
            : ", logged in";
    return { name: `${value.name}: ${value.title}${login}`, value };
  });
  return select("Which agent works?", choices, context);
}

async function chooseLevel(
  agent: AgentChoice,
  wasKeyTyped: boolean,
  { answers, context }: Asking,
): Promise<SetupChoice["level"]> {
  const [first, ...rest] = agent.levels;
  const { level } = answers;
  if (level === "danger") return level;
  if (level !== undefined) {
    if (agent.levels.some((one) => one === level)) return level;
    const { keyNames } = agent;
    const key = keyNames.length === 0 ? "" : `symphony secrets add ${keyNames[0]}, or `;
    throw new SymphonyError(
      "usage",
      `at level ${level} symphony has to know the model provider of ${agent.name} and its key (docs/agents/sandbox.md, the one way out)`,
      { hint: `${key}--level ${first}` },
    );
  }
  if (rest.length === 0 || wasKeyTyped || context.yes || !context.interactive) return first;
  const choices = agent.levels.map((value) => ({ name: `${value}: ${levelTexts[value]}`, value }));
  return select("What may its commands reach?", choices, context);
}

const levelTexts: Readonly<Record<SetupChoice["level"], string>> = {
  safe: "no network, writes only in the workspace",
  networked: "the network, writes only in the workspace",
  danger: "everything that you may do",
};

interface Choice<T> {
  readonly name: string;
  readonly value: T;
}

async function select<T>(
  message: string,
  choices: readonly Choice<T>[],
  context: CommandContext,
): Promise<T> {
  if (appendsOnly(context.env)) return numbered(message, choices, context);
  const { stdin, stderr } = context;
  const prompts = await import("@inquirer/prompts");
  return prompts.select({ message, choices: [...choices] }, { input: stdin, output: stderr });
}

/** The choices with numbers, for a screen reader: nothing is drawn twice. Enter takes the first. */
async function numbered<T>(
  message: string,
  choices: readonly Choice<T>[],
  { stdin, stderr }: CommandContext,
): Promise<T> {
  const ask = () => stderr.write(`1 to ${choices.length}, Enter for 1: `);
  stderr.write(`${message}\n${choices.map(({ name }, at) => `  ${at + 1} ${name}\n`).join("")}`);
  ask();
  try {
    for await (const line of createInterface({ input: stdin, terminal: false })) {
      const chosen = choices[Number(line.trim() || 1) - 1];
      if (chosen !== undefined) return chosen.value;
      ask();
    }
  } finally {
    // A terminal that is still read would keep the process alive.
    stdin.pause();
  }
  throw new SymphonyError("usage", `not answered: ${message}`, {
    hint: "symphony init --yes asks nothing",
  });
}
