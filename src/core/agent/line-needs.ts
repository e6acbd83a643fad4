import { join } from "node:path";
import { type Step, stepsOf, type Words } from "./guard/program.ts";

/** Something that a shell line cannot do without. */
export interface Need {
  readonly what: "program" | "directory" | "file";
  /** A name that PATH has, or an absolute path. */
  readonly name: string;
}

interface Options {
  /** Those that take a word of their own. */
  readonly valued: string;
  /** The letters of those that take none; nothing is said of what follows others. */
  readonly letters: string;
  /** How many words come between the options and the program. */
  readonly words: number;
}

/** Programs that run the one after their words. Their manual pages: coreutils, util-linux, sudo, xvfb-run. */
export const optionsOf: ReadonlyMap<string, Options> = new Map([
  ["timeout", { valued: "-k -s --kill-after --signal", letters: "fpv", words: 1 }],
  ["gtimeout", { valued: "-k -s --kill-after --signal", letters: "fpv", words: 1 }],
  ["nice", { valued: "-n --adjustment", letters: "", words: 0 }],
  ["nohup", { valued: "", letters: "", words: 0 }],
  ["setsid", { valued: "", letters: "cfw", words: 0 }],
  ["stdbuf", { valued: "-i -o -e --input --output --error", letters: "", words: 0 }],
  ["ionice", { valued: "-c -n --class --classdata", letters: "t", words: 0 }],
  ["chrt", { valued: "-T -P -D", letters: "fr", words: 1 }],
  ["taskset", { valued: "", letters: "c", words: 1 }],
  ["caffeinate", { valued: "-t -w", letters: "dimsu", words: 0 }],
  ["unbuffer", { valued: "", letters: "p", words: 0 }],
  ["sudo", { valued: "-u -g -h -p -C -T -U -D -R -r -t", letters: "AEHPSbkn", words: 0 }],
  ["xvfb-run", { valued: "-n -s -e -f -p -w", letters: "al", words: 0 }],
  ["flock", { valued: "-w -E --timeout --conflict-exit-code", letters: "Fenosx", words: 1 }],
  ["faketime", { valued: "", letters: "fm", words: 1 }],
  ["prlimit", { valued: "", letters: "", words: 0 }],
  ["chronic", { valued: "", letters: "ev", words: 0 }],
  ["tini", { valued: "-p -e", letters: "gsvw", words: 0 }],
  ["dumb-init", { valued: "-r", letters: "cv", words: 0 }],
  ["env", { valued: "-u -C --unset --chdir", letters: "v", words: 0 }],
  ["time", { valued: "-f -o", letters: "apv", words: 0 }],
  ["exec", { valued: "-a", letters: "l", words: 0 }],
  ["command", { valued: "", letters: "", words: 0 }],
]);
const longWithoutWord = new Set(["--", "--foreground", "--preserve-status"]);
/** Words of the shell that stand before a program and are none. */
const ofShell = new Set(["exec", "command", "time"]);
const prefixes = new Set([...ofShell, "env", "nice", "!", "{"]);
/** Commands of the shell after which the line is as certain as before. */
const plain = new Set([
  ...[":", "cd", "declare", "echo", "export", "local", "printf", "pushd", "readonly", "set"],
  ...["shopt", "trap", "true", "ulimit", "umask", "unset", "wait"],
]);
/** They decide whether the rest of their list runs. */
const conditions = new Set(["[", "false", "hash", "read", "test", "type", "which"]);
/** What runs after them, or with which PATH, is only known there. */
const opaque = new Set([
  ...[".", "[[", "!", "{", "}", "alias", "case", "coproc", "do", "done", "elif", "else", "esac"],
  ...["eval", "exit", "fi", "for", "function", "if", "return", "select", "source", "then", "until"],
  ...["while", "autoload", "bg", "bind", "break", "builtin", "caller", "compgen", "complete"],
  ...["compopt", "continue", "dirs", "disown", "emulate", "enable", "fc", "fg", "getopts", "help"],
  ...["history", "integer", "jobs", "let", "logout", "mapfile", "noglob", "popd", "print"],
  ...["readarray", "rehash", "setopt", "shift", "suspend", "times", "typeset", "unalias"],
  ...["unsetopt", "whence", "zmodload", "zstyle", "bindkey", "compdef", "float", "unhash"],
]);
const leaves = new Set(["exit", "return"]);
const shells = new Set(["sh", "bash", "dash", "zsh", "ksh"]);
const interpreters = new Set([...shells, "node", "python", "python3", "ruby", "perl"]);
const ofHome = /^(?:~|\$HOME|\$\{HOME\})(?=\/|$)/;
const assignment = /^[A-Za-z_]\w*\+?=/;
/** A name or a path; one that the shell expands is only known there. */
const isProgram = /^[\w./+@-]+$/;
/** A line that is given to a shell that is given a line. */
const maxDepth = 3;

/** Whether a word that the shell expands, `~/bin/agent`, may be this path. */
export function isInHome(word: string, path: string): boolean {
  const rest = word.replace(ofHome, "");
  return rest !== word && path.startsWith("/") && path.endsWith(rest);
}

export function firstOf(words: Words): string | undefined {
  return words.find((word) => !assignment.test(word) && !prefixes.has(word));
}

interface Reading {
  /** Stands for a leading `~` or `$HOME`. */
  readonly home: string;
  /** Of a script only what decides its end counts: a line of settings begins with the agent, or ends with it. */
  readonly isScript?: boolean;
  readonly depth?: number;
}

/** What is known of the shell at a point of the line. */
interface Place {
  /** Its directory; null: the workspace, or not known. */
  cwd: string | null;
  readonly home: string;
  readonly depth: number;
}

/**
 * What a shell line cannot do without: what its first command starts, and what the commands of its last list start, up to the
 * point where only the shell can tell. Left out: what is tried before `||`, what a condition decides, what a variable names.
 */
export function needsOf(
  line: string,
  { home, isScript = false, depth = 0 }: Reading,
): readonly Need[] {
  if (/<<|^\s*[<>]|\bexec\s+(?:\d+|&|\{\w+\})?[<>]/.test(line) || depth > maxDepth) return [];
  const needs: Need[] = [];
  const place: Place = { cwd: null, home, depth };
  const lists = listsOf(stepsOf(line));
  for (const [at, steps] of lists.entries()) {
    const isLastList = at === lists.length - 1;
    let isCertain = !steps.some(({ end }) => end.startsWith("||"));
    for (const [number, { words, end }] of steps.entries()) {
      const isFirst = at === 0 && number === 0;
      const isLeft = endsShell(words);
      const isLast = isLastList || (isLeft && number === 0);
      const found = readStep({ words, end }, place, isCertain);
      if (found === null) return needs;
      if (found === "maybe") isCertain = false;
      else if (isCertain && ((isLast && !isPiped(end)) || (isFirst && !isScript))) {
        needs.push(...found.filter(({ what }) => what !== "directory" || (isFirst && !isScript)));
      }
      // A substitution: what follows is within it.
      if (isLeft || /[()`]/.test(end)) return needs;
    }
  }
  return needs;
}

function readStep({ words, end }: Step, place: Place, isCertain: boolean) {
  if (isOpen(words, end)) return null;
  // `cd x || exit`: what follows runs only if it did not leave.
  return !isCertain && leaves.has(words[0] ?? "") ? "maybe" : needsIn(words, place);
}

function listsOf(steps: readonly Step[]): readonly (readonly Step[])[] {
  const lists: Step[][] = [[]];
  for (const step of steps) {
    lists.at(-1)?.push(step);
    if (!/^(?:&&|\|\|?&?)\n*$/.test(step.end)) lists.push([]);
  }
  return lists.filter((list) => list.length > 0);
}

/** `exec` with a program: nothing runs after it, unless it fails or stands in a condition. */
function endsShell(words: Words): boolean {
  const at = words.findIndex((word) => !assignment.test(word));
  return words[at] === "exec" && words.length > at + 1;
}

function isPiped(end: string): boolean {
  return /^\|(?!\|)/.test(end);
}

/** A bracket that no substitution opens: a function, a subshell, an array. */
function isOpen(words: Words, end: string): boolean {
  return /[()]/.test(end) && !words.at(-1)?.endsWith("$");
}

/** The needs of one command; `maybe`: it decides whether others run; null: nothing after it is known. */
function needsIn(words: Words, place: Place): readonly Need[] | "maybe" | null {
  const at = words.findIndex((word) => !assignment.test(word));
  const set = at === -1 ? words : words.slice(0, at);
  if (set.some((word) => /^PATH\+?=/.test(word))) return null;
  const [word = "", ...rest] = at === -1 ? [] : words.slice(at);
  if (word === "") return [];
  if (opaque.has(word)) return null;
  if (conditions.has(word)) return "maybe";
  if (plain.has(word)) {
    if (word !== "cd" && word !== "pushd")
      return rest.some((one) => /^PATH\b/.test(one)) ? null : [];
    const to = pathOf(rest.find((one) => !/^-./.test(one)) ?? "~", place);
    place.cwd = to;
    return to === null ? [] : [{ what: "directory", name: to }];
  }
  const program = programAt(word, place);
  const own =
    program === null || ofShell.has(word) ? [] : [{ what: "program", name: program } as const];
  const name = word.slice(word.lastIndexOf("/") + 1);
  if (optionsOf.has(name)) {
    const inner = wrapped(name, rest, place);
    return inner === null || inner === "maybe"
      ? own.length > 0
        ? own
        : inner
      : [...own, ...inner];
  }
  const [next = "", line = ""] = rest;
  if (shells.has(name) && /^-[a-z]*c$/.test(next)) {
    const { home, depth } = place;
    return [...own, ...needsOf(line, { home, depth: depth + 1, isScript: true })];
  }
  const file =
    interpreters.has(name) && isProgram.test(next.replace(ofHome, "")) ? pathOf(next, place) : null;
  return file === null ? own : [...own, { what: "file", name: file }];
}

/** The needs of the program that another one runs. */
function wrapped(name: string, words: Words, place: Place): readonly Need[] | "maybe" | null {
  const { valued = "", letters = "", words: between = 0 } = optionsOf.get(name) ?? {};
  const takesWord = valued.split(" ");
  let at = 0;
  while (words[at]?.startsWith("-")) {
    const option = words[at] ?? "";
    // Without its environment a program is looked for elsewhere; `command -v` only asks; a line may be given.
    if (name === "env" && /^-(?:$|[a-zA-Z]*[iS]|-ignore|-split)/.test(option)) return null;
    if (name === "command" && /[vV]/.test(option)) return "maybe";
    if (/^-(?:-command|c$)/.test(option) && name === "flock") return null;
    const takes = takesWord.includes(option);
    const isAttached = !option.startsWith("--") && takesWord.includes(option.slice(0, 2));
    const isLetter = option.length === 2 && letters.includes(option.slice(1));
    const isNumber = name === "nice" && /^-\d+$/.test(option);
    const isKnown = takes || isAttached || isLetter || isNumber || longWithoutWord.has(option);
    if (!isKnown && !option.includes("=")) return [];
    at += takes ? 2 : 1;
    if (option === "--") break;
  }
  return needsIn(words.slice(at + between), place);
}

function programAt(word: string, place: Place): string | null {
  if (word.includes("/")) return pathOf(word, place);
  return isProgram.test(word) && !/^[.-]/.test(word) ? word : null;
}

/** An absolute path; null: one of the workspace, or only the shell can tell. */
function pathOf(word: string, { cwd, home }: Place): string | null {
  const path = home === "" ? word : word.replace(ofHome, () => home);
  if (!isProgram.test(path) || path.startsWith("-")) return null;
  if (path.startsWith("/")) return path;
  return cwd === null ? null : join(cwd, path);
}
