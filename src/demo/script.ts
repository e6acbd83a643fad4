import { readFileSync } from "node:fs";

/** What the scripted agent can do in a turn. Strings may contain variables such as `{{identifier}}`. */
export type Step =
  | { readonly do: "say"; readonly text: string }
  | {
      readonly do: "edit";
      readonly path: string;
      readonly content?: string;
      readonly append?: string;
    }
  | { readonly do: "commit"; readonly message: string }
  | { readonly do: "run"; readonly command: string }
  | { readonly do: "sleep"; readonly ms: number }
  /** Waits up to `ms` for guidance; `writeTo` names a file that gets its text, or `otherwise` where none came. */
  | {
      readonly do: "waitForSteer";
      readonly ms: number;
      readonly writeTo?: string;
      readonly otherwise?: string;
    }
  | { readonly do: "tool"; readonly name: string; readonly arguments?: unknown }
  /** Requests approval to run `command`, or asks a person `question`. */
  | { readonly do: "ask"; readonly command: string }
  | { readonly do: "ask"; readonly question: string; readonly options: readonly string[] }
  /** Added to the totals of the thread. */
  | {
      readonly do: "tokens";
      readonly input: number;
      readonly output: number;
      readonly cachedInput?: number;
      readonly reasoningOutput?: number;
    }
  | {
      readonly do: "notify";
      readonly method: string;
      readonly params: Readonly<Record<string, unknown>>;
    }
  /** `info` is codex's code for the failure (default: `other`). */
  | { readonly do: "fail"; readonly message: string; readonly info?: unknown }
  | { readonly do: "exit"; readonly code: number }
  /** Never ends by itself; `deaf` also ignores every request, including an interrupt. */
  | { readonly do: "hang"; readonly deaf?: boolean }
  /** Writes raw bytes to stdout, given as `text` or as `base64`. */
  | { readonly do: "garbage"; readonly text?: string; readonly base64?: string }
  | { readonly do: "hugeLine"; readonly bytes: number }
  /** Starts a process in its own session that survives a kill of the group; reports its pid. */
  | { readonly do: "spawnGrandchild"; readonly seconds: number }
  /** From this step on neither SIGTERM nor the end of stdin ends the agent. */
  | { readonly do: "ignoreSigterm" };

/**
 * Turns by issue: the name of the workspace's directory, or `default`. Turns are counted over all attempts
 * of an issue; beyond the last one, the last is played again.
 */
export interface Script {
  readonly issues: Readonly<Record<string, readonly (readonly Step[])[]>>;
}

const steps: ReadonlySet<string> = new Set<Step["do"]>([
  "say",
  "edit",
  "commit",
  "run",
  "sleep",
  "waitForSteer",
  "tool",
  "ask",
  "tokens",
  "notify",
  "fail",
  "exit",
  "hang",
  "garbage",
  "hugeLine",
  "spawnGrandchild",
  "ignoreSigterm",
]);

/** Reads a script; throws an Error that names the first invalid place. */
export function readScript(file: string): Script {
  const script: unknown = JSON.parse(readFileSync(file, "utf8"));
  const issues = isObject(script) ? script["issues"] : undefined;
  if (!isObject(issues)) throw new Error(`${file}: "issues" must map names to turns`);
  for (const [name, turns] of Object.entries(issues)) checkTurns(`${file}: issues.${name}`, turns);
  return { issues } as Script;
}

/** The steps of the issue's turn number `turn` (from 1). */
export function stepsOf(script: Script, identifier: string, turn: number): readonly Step[] {
  const { issues } = script;
  const turns = Object.hasOwn(issues, identifier) ? issues[identifier] : issues["default"];
  return turns?.[Math.min(turn, turns.length) - 1] ?? [{ do: "say", text: "Nothing to do." }];
}

/** The step with `{{name}}` replaced in every string; unknown names stay as they are. */
export function filledIn<Value>(value: Value, names: Readonly<Record<string, string>>): Value {
  const text = JSON.stringify(value, (_key, part) =>
    typeof part === "string"
      ? part.replaceAll(/\{\{\s*(\w+)\s*\}\}/g, (whole, name) =>
          Object.hasOwn(names, name) ? (names[name] ?? whole) : whole,
        )
      : part,
  );
  return JSON.parse(text);
}

function checkTurns(place: string, turns: unknown): void {
  if (!Array.isArray(turns)) throw new Error(`${place} must be a list of turns`);
  for (const [index, turn] of turns.entries()) {
    if (!Array.isArray(turn)) throw new Error(`${place}[${index}] must be a list of steps`);
    for (const [at, step] of turn.entries()) checkStep(`${place}[${index}][${at}]`, step);
  }
}

function checkStep(place: string, step: unknown): void {
  const name = isObject(step) ? step["do"] : undefined;
  if (typeof name === "string" && steps.has(name)) return;
  throw new Error(`${place}: "do" must be one of ${[...steps].join(", ")}`);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** One issue of the demo: what the tracker holds, and what the scripted agent does about it. */
interface Chapter {
  readonly title: string;
  readonly description: string;
  readonly priority: number;
  readonly labels: readonly string[];
  /** Index of the chapter that must be done first. */
  readonly after?: number;
  readonly turns: readonly (readonly Step[])[];
}

// biome-ignore lint/suspicious/noTemplateCurlyInString: a shell variable, not a template literal
const greeting = 'echo "Hello, ${1:-world}!"\n';

const test: readonly Step[] = [{ do: "run", command: "sh test.sh" }];

/** Ends an issue as a real agent would: a comment, and the last state. symphony commits and pushes the rest. */
function done(message: string): readonly Step[] {
  return [
    ...test,
    { do: "tokens", input: 6_200, output: 240, cachedInput: 4_100 },
    { do: "say", text: `The tests pass: ${message}.` },
    { do: "tool", name: "issue_comment", arguments: { body: `Done: ${message}.` } },
    { do: "tool", name: "issue_move", arguments: { state: "Done" } },
  ];
}

/** How long the agent of the steering chapter waits for guidance before it continues without: where a person sees it ask, and else. */
export const steeringWaitMs = { attended: 30 * 60_000, alone: 60_000 };

export const steeringQuestion = "What should the evening greeting be? Steer me: I wait for it.";

export const chapters: readonly Chapter[] = [
  {
    title: "Greet people by name",
    description: "`sh greet.sh Ada` should print `Hello, Ada!` instead of `Hello, world!`.",
    priority: 1,
    labels: ["feature"],
    turns: [
      [
        { do: "say", text: "I read greet.sh and its test first." },
        { do: "run", command: "cat greet.sh" },
        { do: "sleep", ms: 900 },
        { do: "edit", path: "greet.sh", content: greeting },
        { do: "edit", path: "test.sh", append: '[ "$(sh greet.sh Ada)" = "Hello, Ada!" ]\n' },
        { do: "sleep", ms: 600 },
        ...done("greet.sh greets people by name"),
      ],
    ],
  },
  {
    title: "Describe the name argument in the README",
    description: "Only once greet.sh understands it.",
    priority: 2,
    labels: ["docs"],
    after: 0,
    turns: [
      [
        { do: "say", text: "The argument is there now, so I describe it." },
        { do: "sleep", ms: 1_200 },
        { do: "edit", path: "README.md", append: "\nUsage: `sh greet.sh NAME`\n" },
        ...done("the README describes the name argument"),
      ],
    ],
  },
  {
    title: "Add a farewell",
    description: "`sh farewell.sh` prints `Goodbye!`. The first attempt fails, to show a retry.",
    priority: 2,
    labels: ["feature"],
    turns: [
      [
        { do: "say", text: "I start with the new script." },
        { do: "sleep", ms: 1_000 },
        { do: "tokens", input: 2_000, output: 60 },
        { do: "fail", message: "the model provider cut the connection (part of the demo)" },
      ],
      [
        { do: "say", text: "Second attempt: the workspace is as I left it." },
        { do: "sleep", ms: 800 },
        { do: "edit", path: "farewell.sh", content: 'echo "Goodbye!"\n' },
        { do: "edit", path: "test.sh", append: '[ "$(sh farewell.sh)" = "Goodbye!" ]\n' },
        ...done("farewell.sh says goodbye"),
      ],
    ],
  },
  {
    title: "Choose the evening greeting",
    description: "A person should say what it is. The agent waits for guidance.",
    priority: 3,
    labels: ["question"],
    turns: [
      [
        { do: "say", text: steeringQuestion },
        {
          ...{ do: "waitForSteer", ms: steeringWaitMs.alone },
          ...{ writeTo: "evening.txt", otherwise: "Good evening" },
        },
        ...done("the evening greeting is chosen"),
      ],
    ],
  },
  {
    title: "Add a licence",
    description: "A short LICENSE file.",
    priority: 4,
    labels: ["chore"],
    turns: [
      [
        { do: "say", text: "A small one." },
        { do: "sleep", ms: 700 },
        { do: "edit", path: "LICENSE", content: "Public domain.\n" },
        ...done("the repository has a licence"),
      ],
    ],
  },
];

/** Identifier of a chapter's issue: the embedded tracker numbers them from 1. */
export function identifierOf(index: number): string {
  return `DEMO-${index + 1}`;
}

/** The one chapter that waits for guidance. */
export const steeredIdentifier = identifierOf(3);

/** `isAttended`: a person can answer, so the agent waits until it is answered. */
export function demoScript(isAttended: boolean): Script {
  const patient = (step: Step): Step =>
    isAttended && step.do === "waitForSteer" ? { ...step, ms: steeringWaitMs.attended } : step;
  return {
    issues: Object.fromEntries(
      chapters.map(({ turns }, index) => [
        identifierOf(index),
        turns.map((steps) => steps.map(patient)),
      ]),
    ),
  };
}
