import { createHash } from "node:crypto";
import { realpath, stat } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join, relative, resolve, sep } from "node:path";
import { messageOf } from "../model/errors.ts";
import { normalState } from "../model/issue.ts";
import type { Problem } from "./finding.ts";
import type { Place } from "./places.ts";
import { invalidConfig, isMap } from "./schema.ts";
import { isChainKey } from "./sections.ts";
import { parsePrompt, parseWorkflow, readWorkflow, type Workflow } from "./workflow.ts";

/** A template of a file. */
export interface PromptText {
  readonly text: string;
  /** Where it begins. */
  readonly at: Place;
}

/** A problem of a key that is read here, with its place: another file of the chain may have the same key. */
export type ChainProblem = Problem & { readonly place: Place | null };

/** A workflow file, the files that it is based on, and the prompts that they name. */
export interface WorkflowChain {
  /** Nearest first, without the keys that are read here. */
  readonly files: readonly [Workflow, ...Workflow[]];
  /** The nearest body that is not blank. */
  readonly prompt: PromptText;
  /** By tracker state in normal form, the nearest file's. */
  readonly prompts: ReadonlyMap<string, PromptText>;
  readonly problems: readonly ChainProblem[];
  /** Every file that was read or looked for. */
  readonly paths: readonly string[];
  /** Changes with the content of any of them. */
  readonly hash: string;
}

/** How many files a workflow file may be based on, one through the other. */
const maxBases = 5;

/**
 * Adds to the content of a workflow file those of its `base_config` and `prompts`. What is wrong with these keys is reported
 * in `problems`; rejects like `loadWorkflow`, for any of the files.
 */
export async function readChain(
  content: Uint8Array,
  { path, home }: { readonly path: string; readonly home: string },
): Promise<WorkflowChain> {
  const reader = new ChainReader(home);
  const first = await reader.first(content, path);
  const files: [Workflow, ...Workflow[]] = [first];
  for (let file: Workflow | null = first; file !== null; ) {
    file = await reader.baseOf(file, files.length);
    if (file !== null) files.push(file);
  }
  const prompts = new Map<string, PromptText>();
  for (const file of files) {
    for (const [state, prompt] of await reader.promptsOf(file)) {
      if (!prompts.has(state)) prompts.set(state, prompt);
    }
  }
  const written = files.find(({ promptTemplate }) => promptTemplate !== "") ?? first;
  return {
    files: [withoutChainKeys(first), ...files.slice(1).map(withoutChainKeys)],
    prompt: { text: written.promptTemplate, at: { file: written.path, ...written.promptAt } },
    prompts,
    problems: reader.problems,
    paths: [...reader.hashes.keys()],
    hash: hashOf(reader.hashes),
  };
}

/**
 * The settings of a workflow file and of those it is based on, without a check of their values. Rejects like `loadWorkflow`, and
 * with `invalid_config` when a file that it is based on cannot be used.
 */
export async function loadSettings(path: string, home = homedir()) {
  const { files, problems } = await readChain(await readWorkflow(path), { path, home });
  const faults = problems.filter(({ path: key }) => key === "base_config");
  if (faults.length > 0) throw invalidConfig(faults);
  const [workflow, ...bases] = files;
  return { workflow: workflow.config, bases: bases.map(({ config }) => config) };
}

function withoutChainKeys(file: Workflow): Workflow {
  const own = Object.entries(file.config).filter(([key]) => !isChainKey(key));
  return { ...file, config: Object.fromEntries(own) };
}

class ChainReader {
  readonly problems: ChainProblem[] = [];
  /** Of what was read at each path. */
  readonly hashes = new Map<string, string>();
  readonly #home: string;
  /** The real paths of the workflow files. */
  readonly #seen = new Set<string>();

  constructor(home: string) {
    this.#home = home;
  }

  async first(content: Uint8Array, path: string): Promise<Workflow> {
    this.hashes.set(path, digest(content));
    return this.#workflow(content, path);
  }

  async #workflow(content: Uint8Array, path: string): Promise<Workflow> {
    this.#seen.add(await realpath(path).catch(() => path));
    return parseWorkflow(content, path);
  }

  /** The file that `file` is based on; null without one, and where it cannot be used. */
  async baseOf(file: Workflow, above: number): Promise<Workflow | null> {
    const written = file.config["base_config"];
    if (written === undefined || written === null) return null;
    const refuse = (message: string) => this.#refuse(file, "base_config", message);
    if (typeof written !== "string" || written.trim() === "") {
      return refuse("must be the path of another workflow file, such as ../WORKFLOW.md");
    }
    if (above > maxBases) return refuse(`goes more than ${maxBases} files deep`);
    const found = await this.#find(file, written, { mayBeAtHome: true });
    if ("fault" in found) return refuse(found.fault);
    if (this.#seen.has(found.real)) return refuse(`${written} leads back to ${found.real}`);
    return this.#workflow(await this.#read(found.path), found.path);
  }

  async promptsOf(file: Workflow): Promise<ReadonlyMap<string, PromptText>> {
    const written = file.config["prompts"];
    const prompts = new Map<string, PromptText>();
    if (written === undefined || written === null) return prompts;
    if (!isMap(written)) {
      const message = "must be a map of tracker states and files, such as {Review: review.md}";
      this.#refuse(file, "prompts", message);
      return prompts;
    }
    for (const [state, value] of Object.entries(written)) {
      if (value === null) continue;
      const prompt = await this.#promptIn(file, `prompts.${state}`, value);
      if (prompt !== null) prompts.set(normalState(state), prompt);
    }
    return prompts;
  }

  async #promptIn(file: Workflow, key: string, written: unknown): Promise<PromptText | null> {
    const refuse = (message: string) => this.#refuse(file, key, message);
    if (typeof written !== "string" || written.trim() === "") {
      return refuse("must be the path of a file with the prompt, such as review.md");
    }
    const found = await this.#find(file, written, { mayBeAtHome: false });
    if ("fault" in found) return refuse(found.fault);
    try {
      const { promptTemplate, promptAt } = parsePrompt(await this.#read(found.path), found.path);
      if (promptTemplate === "") return refuse(`${written} is empty`);
      return { text: promptTemplate, at: { file: found.path, ...promptAt } };
    } catch (error) {
      return refuse(messageOf(error));
    }
  }

  /** The file at a path that a workflow file names. */
  async #find(
    { path: from }: Workflow,
    written: string,
    { mayBeAtHome }: { readonly mayBeAtHome: boolean },
  ): Promise<Found> {
    const named = written.trim();
    const path = named.startsWith("~/")
      ? join(this.#home, named.slice(2))
      : resolve(dirname(from), named);
    this.hashes.set(path, absent);
    const real = await realpath(path).catch(() => null);
    if (real === null) return { fault: `${written}: there is no file ${path}` };
    const tree = await treeOf(from);
    const homes = mayBeAtHome ? [await realpath(this.#home).catch(() => this.#home)] : [];
    if ([tree, ...homes].some((folder) => isInside(real, folder))) return { path, real };
    const places = mayBeAtHome ? `${tree} or the home directory` : tree;
    return { fault: `${written} is ${real}, and must be inside ${places}` };
  }

  async #read(path: string): Promise<Uint8Array> {
    const content = await readWorkflow(path);
    this.hashes.set(path, digest(content));
    return content;
  }

  #refuse(file: Workflow, path: string, message: string): null {
    const place = file.places.valueAt(path)?.place ?? file.places.keyAt(path);
    this.problems.push({ path, message, isRule: true, place });
    return null;
  }
}

/** Of files that are read now: the `hash` of a chain with these paths whose files have not changed. */
export async function hashOfFiles(paths: readonly string[]): Promise<string> {
  const hashes = new Map<string, string>();
  for (const path of paths) {
    hashes.set(path, await readWorkflow(path).then(digest, () => absent));
  }
  return hashOf(hashes);
}

const absent = "";

function digest(content: Uint8Array): string {
  return createHash("sha256").update(content).digest("hex");
}

function hashOf(hashes: ReadonlyMap<string, string>): string {
  return digest(Buffer.from(JSON.stringify([...hashes])));
}

type Found = { readonly path: string; readonly real: string } | { readonly fault: string };

/** The repository of a file; without one, the folder above its own, as in `base_config: ../WORKFLOW.md`. */
async function treeOf(path: string): Promise<string> {
  const own = dirname(await realpath(path).catch(() => path));
  for (let folder = own; folder !== dirname(folder); folder = dirname(folder)) {
    if (await exists(join(folder, ".git"))) return folder;
  }
  const above = dirname(own);
  return above === dirname(above) ? own : above;
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

function isInside(path: string, folder: string): boolean {
  const way = relative(folder, path);
  return way !== "" && way !== ".." && !way.startsWith(`..${sep}`);
}
