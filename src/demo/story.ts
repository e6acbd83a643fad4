import type { Script, Step } from "./script.ts";

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

// biome-ignore lint/suspicious/noTemplateCurlyInString: a variable of the shell, not of ours
const greeting = 'echo "Hello, ${1:-world}!"\n';

const test: readonly Step[] = [{ do: "run", command: "sh test.sh" }];

/** Ends an issue as a real agent would: a commit, a comment, the last state. */
function done(message: string): readonly Step[] {
  return [
    ...test,
    { do: "commit", message: `${message} ({{identifier}})` },
    { do: "tokens", input: 6_200, output: 240, cachedInput: 4_100 },
    { do: "say", text: `The tests pass: ${message}.` },
    { do: "tool", name: "issue_comment", arguments: { body: `Done: ${message}.` } },
    { do: "tool", name: "issue_move", arguments: { state: "Done" } },
  ];
}

/** How long the agent of the steering chapter waits for a word before it goes on by itself. */
export const steeringWaitMs = 60_000;

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
        { do: "say", text: "What should the evening greeting be? Steer me: I wait for a minute." },
        { do: "waitForSteer", ms: steeringWaitMs, writeTo: "evening.txt" },
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

export function demoScript(): Script {
  return {
    issues: Object.fromEntries(
      chapters.map((chapter, index) => [identifierOf(index), chapter.turns]),
    ),
  };
}
