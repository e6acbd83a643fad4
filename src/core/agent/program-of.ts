import { open, stat } from "node:fs/promises";
import type { ErrorCode } from "../model/errors.ts";
import { findProgram } from "../process/find-program.ts";
import { type Environment, loginEnvironment } from "../process/login.ts";
import { displayText } from "../text/text.ts";
import { commandsOf } from "./guard/program.ts";
import { firstOf, isInHome, type Need, needsOf, optionsOf } from "./line-needs.ts";

const maxPathChars = 2_000;
/** So much of a program is read; a larger one is no script that a person wrote to start an agent. */
const maxScriptBytes = 64 * 1024;
/** A script that starts a script that starts a script. */
const maxDepth = 3;

/** Whether a shell line itself runs a program of this name or path, as its first one or as a later one. */
export function isRunBy(line: string, program: string): boolean {
  return commandsOf(line).some((words) => {
    const first = firstOf(words) ?? "";
    // An option of a wrapper may take a word of its own.
    const named = optionsOf.has(first) || first.startsWith("-") ? words : [first];
    return named.some((word) => word === program || isInHome(word, program));
  });
}

/**
 * The programs that a shell line is certain to start, by name or absolute path, in their order; those that only the shell can
 * tell are left out. `home` stands for a leading `~` or `$HOME`.
 */
export function programsOf(line: string, home = ""): readonly string[] {
  return needsOf(line, { home }).flatMap(({ what, name }) => (what === "program" ? [name] : []));
}

/** A command line whose program is not there. */
export interface Missing {
  readonly code: ErrorCode;
  /** A sentence with the places that were searched. */
  readonly message: string;
  readonly hint: string;
}

interface Line {
  /** The dotted key of the line. */
  readonly key: string;
  readonly line: string;
  readonly kind: string;
}

/**
 * What is missing for a line to start, as the user's login shell would look for it: a program that the line is certain to
 * start, also behind `cd`, `env`, `timeout` and the like and in a plain script, or the interpreter of a script. null: nothing,
 * or it cannot be said.
 */
export async function missingProgram(
  { key, line, kind }: Line,
  env: Environment,
): Promise<Missing | null> {
  const home = env["HOME"] ?? "";
  const needs = needsOf(line, { home });
  if (needs.length === 0) return null;
  const path = (await loginEnvironment(env))["PATH"] ?? "";
  const missing = await firstMissing(needs, { said: `${key} starts`, path, home, depth: 0 });
  if (missing === null) return null;
  const { said, need } = missing;
  const code = kind === "codex" ? "codex_not_found" : "agent_not_found";
  const { what, name } = need;
  if (what === "program" && !name.includes("/")) {
    const searched = displayText(path, maxPathChars);
    return {
      code,
      message: `${said} ${name}, and no directory of PATH has it: ${searched}`,
      hint: `install ${name}, or set ${key} to its path; after a change of your shell's profile, restart the server`,
    };
  }
  const message = `${said} ${name}, and there is no such ${what}`;
  return { code, message, hint: `set ${key} to where it is` };
}

interface Search {
  /** The sentence so far: what starts the program. */
  readonly said: string;
  readonly path: string;
  readonly home: string;
  readonly depth: number;
}

interface Lacking {
  readonly said: string;
  readonly need: Need;
}

async function firstMissing(needs: readonly Need[], search: Search): Promise<Lacking | null> {
  for (const need of needs) {
    const missing = await missingFor(need, search);
    if (missing !== null) return missing;
  }
  return null;
}

async function missingFor(need: Need, search: Search): Promise<Lacking | null> {
  const { said, path, home, depth } = search;
  const { what, name } = need;
  if (what !== "program") {
    const stats = await stat(name).catch(() => null);
    const isThere = what === "directory" ? stats?.isDirectory() : stats !== null;
    return isThere
      ? null
      : { said: what === "directory" ? said.replace(/s$/, "s in") : said, need };
  }
  const found = await findProgram(name, path);
  if (found === null) return { said, need };
  const script = depth < maxDepth ? await scriptAt(found) : null;
  if (script === null) return null;
  const further = { ...search, depth: depth + 1 };
  const [interpreter, ...rest] = script.interpreter;
  if (interpreter === undefined) return null;
  const runs = { what: "program", name: interpreter } as const;
  const lacks = await missingFor(runs, { ...further, said: `${said} ${found}, which runs in` });
  const isWhole = script.text.length < maxScriptBytes;
  if (lacks !== null || !isWhole || !isShell.test(interpreter) || rest.length > 0) return lacks;
  const inside = needsOf(script.text, { home, isScript: true });
  return firstMissing(inside, { ...further, said: `${said} ${found}, which starts` });
}

const isShell = /^(?:\/\S*\/)?(?:ba|da|z|k)?sh$/;

/** A script's interpreter, and the beginning of its text; null: it is none. */
async function scriptAt(file: string) {
  const head = await headOf(file).catch(() => Buffer.alloc(0));
  const text = head.toString("latin1");
  const [, written] = /^#! *([^\n]+)/.exec(text) ?? [];
  if (written === undefined) return null;
  const words = written.trim().split(/\s+/);
  const interpreter = /\/env$/.test(words[0] ?? "") ? ofEnv(words.slice(1)) : words;
  return { interpreter: interpreter.filter((word) => !/^-[eux]+$/.test(word)), text };
}

/** What `#!/usr/bin/env -S A=1 node --flag` runs; empty: only env can tell. */
function ofEnv(words: readonly string[]): readonly string[] {
  const given = words[0] === "-S" ? words.slice(1) : words;
  const isSure = !given.some((word) => /^PATH=|['"\\$]/.test(word));
  const from = given.findIndex((word) => !/^\w+=/.test(word));
  return !isSure || from === -1 || given[from]?.startsWith("-") ? [] : given.slice(from);
}

async function headOf(file: string): Promise<Buffer> {
  await using handle = await open(file);
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(maxScriptBytes), 0, maxScriptBytes);
  return buffer.subarray(0, bytesRead);
}
