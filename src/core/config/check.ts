import { homedir } from "node:os";
import { dirname } from "node:path";
import { SymphonyError } from "../model/errors.ts";
import { nearest } from "../text/nearest.ts";
import { either } from "./agents.ts";
import { type ChainProblem, type PromptText, readChain, type WorkflowChain } from "./chain.ts";
import type { Config } from "./config.ts";
import { type Finding, type Problem, problemsOf, sentenceOf } from "./finding.ts";
import { agentNamed, wayText } from "./foreign-keys.ts";
import type { Origin } from "./layers.ts";
import { absoluteAddress } from "./local-address.ts";
import { credentialKey, type Overlay } from "./overlay.ts";
import { noPlaces, type Place, type WrittenValue } from "./places.ts";
import {
  type ConfigFlags,
  type Inspected,
  inspectConfig,
  type LayerProblem,
  toConfig,
  variableOf,
} from "./resolve.ts";
import { workspaceRoot } from "./root.ts";
import type { Written } from "./schema.ts";
import type { Sections } from "./sections.ts";
import type { Workflow } from "./workflow.ts";

/** A configuration and its prompt: they change together or not at all. */
export interface Effective {
  readonly config: Config;
  readonly promptTemplate: string;
  /** Where it begins. */
  readonly promptAt: Place;
  /** Prompts by tracker state, in normal form; they precede `promptTemplate`. */
  readonly prompts: ReadonlyMap<string, PromptText>;
  /** The same configuration with the keys of the file, including unknown ones; `$NAME` is not resolved. */
  readonly written: Written;
  /** By dotted path, for every leaf of `written`. */
  readonly origins: Readonly<Record<string, Origin>>;
}

/** What a further check of a file sees: with faults elsewhere, the defaults are in the place of those values. */
export interface CheckedFile extends Effective {
  /** Whether a fault was found at this key or above or below it: what it says was not the author's. */
  isFaulty(path: string): boolean;
}

/** A further check, such as that of the prompt or the hooks; it may also reject with what it found. */
export type FileCheck = (
  file: CheckedFile,
) => readonly Problem[] | Promise<readonly Problem[]> | Promise<void> | void;

export interface CheckDeps {
  readonly sections: Sections;
  readonly workflowPath: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly flags: ConfigFlags;
  /** The user's home directory; default: the system's. */
  readonly home?: string;
  readonly overlay?: Overlay;
  /** A key that narrows what runs, caps it or chooses an agent is a warning when nothing reads it. */
  readonly allowUnknown?: boolean;
  /** Checks that only other parts can make. */
  readonly checks?: readonly FileCheck[];
}

export interface Checked {
  readonly effective: Effective;
  /** In the order of the file; with an error the configuration must not be used. */
  readonly findings: readonly Finding[];
  /** Every file that it depends on, and what changes with any of them. */
  readonly paths: readonly string[];
  readonly hash: string;
  /** Problems that are found later, such as by asking the tracker, with their places in the same file. */
  locate(problems: readonly Problem[]): readonly Finding[];
}

/**
 * Checks a workflow file with all other layers as a whole: everything that is wrong with it at once, each with its place.
 * Rejects only where the file cannot be read as settings and a prompt.
 */
export async function checkConfig(content: Uint8Array, deps: CheckDeps): Promise<Checked> {
  const { workflowPath, env, flags, overlay = {}, sections, allowUnknown = false } = deps;
  const chain = await readChain(content, { path: workflowPath, home: deps.home ?? homedir() });
  const [workflow, ...bases] = chain.files.map(({ config }) => config);
  const sources = { workflow: workflow ?? {}, bases, env, overlay, flags };
  const inspected = inspectConfig(sources, sections, { allowUnknown });
  const found: (LayerProblem & Partial<ChainProblem>)[] = [
    ...chain.problems.map((one) => ({ ...one, origin: "workflow" as const })),
    ...inspected.problems,
    ...unknownAgents(inspected, sections),
  ];
  const root = rootOrProblem(inspected.written.workspace.root, deps, found);
  const written = {
    ...inspected.written,
    workspace: { ...inspected.written.workspace, root },
    git: absoluteGit(inspected.written.git, deps),
    ...shownKeys(chain),
  };
  const effective: Effective = {
    // A host reads the root as it was written.
    config: toConfig({ ...written, workspace: inspected.written.workspace }, root, sections),
    promptTemplate: chain.prompt.text,
    promptAt: chain.prompt.at,
    prompts: chain.prompts,
    written,
    origins: { "workspace.root": "default", ...inspected.origins, ...shownOrigins(chain) },
  };
  const errors = found.filter(({ severity = "error" }) => severity === "error");
  const file: CheckedFile = {
    ...effective,
    isFaulty: (path) => errors.some((one) => isWithin(one.path, path) || isWithin(path, one.path)),
  };
  const layered = (problems: readonly Problem[]): readonly LayerProblem[] =>
    problems.map((one) => ({ ...one, origin: layerOf(effective.origins, one.path) }));
  for (const check of deps.checks ?? []) found.push(...layered(await problemsIn(check, file)));
  const locate = (problems: readonly LayerProblem[]) =>
    inOrder(onceEach(problems.map((one) => findingOf(one, chain))));
  const { paths, hash } = chain;
  return {
    ...{ effective, paths, hash },
    findings: locate(found),
    locate: (problems) => locate(layered(problems)),
  };
}

/** The keys that only files have, as the configuration in force shows them: with absolute paths. */
function shownKeys({ files, prompts }: WorkflowChain): Readonly<Record<string, unknown>> {
  const [, base] = files;
  const texts = [...prompts].map(([state, { at }]) => [state, at.file]);
  return {
    ...(base && { base_config: base.path }),
    ...(prompts.size > 0 && { prompts: Object.fromEntries(texts) }),
  };
}

function shownOrigins(chain: WorkflowChain): Record<string, Origin> {
  const { base_config: base } = shownKeys(chain);
  const keys = [...chain.prompts.keys()].map((state) => `prompts.${state}`);
  const all = base === undefined ? keys : ["base_config", ...keys];
  return Object.fromEntries(all.map((key) => [key, "workflow"]));
}

/** A key that two files of a chain have is checked with both. */
function onceEach(findings: readonly Finding[]): readonly Finding[] {
  const all = findings.map((one) => [JSON.stringify([one.place, one.message]), one] as const);
  return [...new Map(all).values()];
}

/** Kinds of agent that a state or a label chooses, and that there are not. */
function unknownAgents(
  { written, origins }: Inspected,
  { agents }: Sections,
): readonly LayerProblem[] {
  const allowed = agents.map(({ kind }) => kind);
  return (["by_state", "by_label"] as const).flatMap((key) =>
    Object.entries(written.agent[key]).flatMap(([name, { kind }]): readonly LayerProblem[] => {
      if (kind === null || allowed.includes(kind)) return [];
      const path = `agent.${key}.${name}.kind`;
      const message = `must be ${either(allowed)}`;
      return [{ path, message, isRule: true, allowed, origin: layerOf(origins, path) }];
    }),
  );
}

function rootOrProblem(
  root: string | undefined,
  { workflowPath, env, home = homedir() }: CheckDeps,
  found: LayerProblem[],
): string {
  const place = { workflowPath, env, home };
  try {
    return workspaceRoot(root, place);
  } catch (error) {
    found.push(
      ...problemsOf(requireKnown(error)).map((one) => ({ ...one, origin: "workflow" as const })),
    );
    return workspaceRoot(undefined, place);
  }
}

function absoluteGit(
  { repositories, ...git }: Written["git"],
  { workflowPath, home = homedir() }: CheckDeps,
): Written["git"] {
  const place = { directory: dirname(workflowPath), home };
  const absolute = repositories.map((one) => ({ ...one, url: absoluteAddress(one.url, place) }));
  return { ...git, repositories: absolute };
}

async function problemsIn(check: FileCheck, file: CheckedFile): Promise<readonly Problem[]> {
  try {
    return (await check(file)) ?? [];
  } catch (error) {
    return problemsOf(requireKnown(error));
  }
}

function requireKnown(error: unknown): SymphonyError {
  if (error instanceof SymphonyError) return error;
  throw error;
}

function layerOf(origins: Effective["origins"], path: string): LayerProblem["origin"] {
  const exact = origins[path];
  const below = Object.entries(origins).find(([key]) => isWithin(key, path))?.[1];
  const origin = exact ?? below ?? "workflow";
  return origin === "default" ? "workflow" : origin;
}

/** Whether `path` is `above`, or a key below it. */
function isWithin(path: string, above: string): boolean {
  return path === above || path.startsWith(`${above}.`);
}

const sources = { env: "the environment", overlay: "the overlay", flag: "the command line" };

function findingOf(problem: LayerProblem & Partial<ChainProblem>, chain: WorkflowChain): Finding {
  const { origin, path, severity = "error", code = "invalid_config", allowed = null } = problem;
  const [main] = chain.files;
  const { places, key } = writtenAt(path, chain);
  const isInFile = origin === "workflow";
  const value = isInFile ? places.valueAt(key) : null;
  const read = isSecret(path) || problem.isKey ? null : (value?.text ?? null);
  const inPrompt = promptPlace(problem, chain);
  const place = problem.isKey || value === null ? places.keyAt(key) : value.place;
  const source = isInFile ? null : origin === "env" ? variableOf(path) : sources[origin];
  const at = isInFile ? (problem.place ?? shifted(inPrompt ?? place, value, problem)) : null;
  const also = isInFile ? withoutSettings(problem, main) : withinText(problem);
  const rest = `${meantOf(read, problem)}${readAs(value, problem)}${also}`;
  return {
    severity,
    code,
    path,
    message: `${sentenceOf(problem)}${rest}`,
    place: at,
    otherFile: at !== null && at.file !== main.path ? at.file : null,
    source,
    read,
    allowed,
    details: problem.details ?? {},
    next:
      problem.next?.replaceAll("FILE", at?.file ?? main.path) ??
      (isAgent.test(path) && read !== null ? wayHere(read, allowed ?? []) : null),
  };
}

/** The nearest file that has the key, and the key as it is written there: a tracker's own may stand in `tracker` itself. */
function writtenAt(
  path: string,
  { files }: WorkflowChain,
): Pick<Workflow, "places"> & { key: string } {
  const keys = [path, path.replace(/^tracker\.provider\./, "tracker.")];
  for (const { places } of files) {
    const key = keys.find((one) => places.valueAt(one) !== null);
    if (key !== undefined) return { places, key };
  }
  return { places: files[0].places, key: path };
}

/** Where the text of a prompt begins; null for any other key. */
function promptPlace({ path, within }: Problem, { prompt, prompts }: WorkflowChain): Place | null {
  if (path === "prompt") return prompt.at;
  const [, state] = /^prompts\.(.*)$/s.exec(path) ?? [];
  return within === undefined || state === undefined ? null : (prompts.get(state)?.at ?? null);
}

/** Each configuration needs a tracker, so that this is what a file without settings lacks first. */
function withoutSettings({ path }: Problem, { places }: Pick<Workflow, "places">): string {
  if (path !== "tracker.kind" || places !== noPlaces) return "";
  return "; the file has no settings, which stand between two lines ---, the first of them at its beginning";
}

/** A position in a text that is in no file. */
function withinText({ within }: Problem): string {
  if (within === undefined) return "";
  return ` (line ${within.line}${within.column === null ? "" : `, column ${within.column}`} of the text)`;
}

const isAgent = /^agent\.(?:by_state\..*\.|by_label\..*\.)?kind$/;

/** How an agent that another tool names runs here. */
function wayHere(read: string, kinds: readonly string[]): string | null {
  const way = agentNamed(unquoted(read), kinds);
  return way === null ? null : `here it runs with ${wayText(way)}`;
}

function unquoted(read: string): string {
  return read.replace(/^["']|["']$/g, "");
}

/** A credential is never repeated, and neither is a script, which may hold one. */
function isSecret(path: string): boolean {
  // The address of a receiver is one.
  if (path.startsWith("hooks.") || /^notify\.\d+\.url$/.test(path)) return true;
  return credentialKey.test(path.split(".").at(-1) ?? "");
}

/** A position within the prompt or within a text of several lines. */
function shifted(
  place: Place | null,
  value: WrittenValue | null,
  { within }: Problem,
): Place | null {
  if (place === null || within === undefined) return place;
  const { line, column } = within;
  if (value === null || value.place.file !== place.file) {
    const indent = line === 1 ? place.column - 1 : 0;
    return { file: place.file, line: place.line + line - 1, column: indent + (column ?? 1) };
  }
  // The lines of a text in quotes need not be lines of the file, and an escape is longer than its character.
  const isBlock = value.firstLine > place.line;
  if (isBlock) {
    const at = column === null ? 1 : value.indent + column;
    return { file: place.file, line: value.firstLine + line - 1, column: at };
  }
  if (column === null || line > 1 || value.text === null || /\\|''/.test(value.text)) return place;
  const quote = /^["']/.test(value.text) ? 1 : 0;
  return { ...place, column: place.column + quote + column - 1 };
}

/** Why a value that looks like text is none: `; YAML reads 123e4 as the number 1230000, so quote it: "123e4"`. */
function readAs(value: WrittenValue | null, { path, message, isKey }: Problem): string {
  if (value === null || value.plain === null || value.text === null || isKey) return "";
  // Only where text is wanted; a word in the place of a number is not mended by quotes.
  if (!/\b(?:text|string)\b/.test(message)) return "";
  const { text, plain } = value;
  const what = typeof plain === "boolean" ? `${plain}` : `the number ${plain}`;
  if (isSecret(path)) return "; YAML does not read it as text, so quote it";
  return `; YAML reads ${text} as ${what}, so quote it: "${text}"`;
}

function meantOf(read: string | null, { allowed, isRule }: Problem): string {
  if (read === null || allowed === undefined || !isRule) return "";
  const word = unquoted(read);
  const meant = nearest(word.toLowerCase(), allowed);
  return `, not ${word}${meant === null ? "" : `; did you mean ${meant}?`}`;
}

/** By line, what has none last. */
function inOrder(findings: readonly Finding[]): readonly Finding[] {
  const last = Number.MAX_SAFE_INTEGER;
  const by = (side: "line" | "column", a: Finding, b: Finding) =>
    (a.place?.[side] ?? last) - (b.place?.[side] ?? last);
  return findings.toSorted((a, b) => by("line", a, b) || by("column", a, b));
}
