import { readFileSync } from "node:fs";

/** What the scripted agent can do in a turn. Strings may hold `{{identifier}}` and its kin. */
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
  /** Waits until guidance has come, `ms` at most; `writeTo` names a file that gets its text. */
  | { readonly do: "waitForSteer"; readonly ms: number; readonly writeTo?: string }
  | { readonly do: "tool"; readonly name: string; readonly arguments?: unknown }
  /** Asks for leave to run `command`, or a person `question`. */
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
  /** `info` is codex's word for the failure, `other` without one. */
  | { readonly do: "fail"; readonly message: string; readonly info?: unknown }
  | { readonly do: "exit"; readonly code: number }
  /** Never ends by itself; `deaf` answers no request either, an interrupt included. */
  | { readonly do: "hang"; readonly deaf?: boolean }
  /** Bytes on stdout as they are, as `text` or as `base64`. */
  | { readonly do: "garbage"; readonly text?: string; readonly base64?: string }
  | { readonly do: "hugeLine"; readonly bytes: number }
  /** A process in a session of its own that outlives a killed group; says its pid. */
  | { readonly do: "spawnGrandchild"; readonly seconds: number }
  /** From now on neither SIGTERM nor the end of stdin ends the agent. */
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

/** Reads a script; throws an Error that names the first place where it makes no sense. */
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
