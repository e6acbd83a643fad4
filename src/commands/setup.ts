import { accessSync, constants, existsSync, lstatSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { diff } from "node:util";
import { systemClock } from "../core/clock.ts";
import { readWorkflow } from "../core/config/workflow.ts";
import { messageOf, SymphonyError } from "../core/model/errors.ts";
import { openSecrets } from "../core/secrets/secrets.ts";
import { createRedactor } from "../core/text/redact.ts";
import { shellQuoted } from "../core/text/text.ts";
import { checkFile, printCheck } from "./config-check.ts";
import { type CommandContext, type Place, type Project, placeOf } from "./context.ts";
import { serveLine } from "./data-dir.ts";
import { openOfflineSecrets } from "./offline-secrets.ts";
import { foldLines, plain, plainLine } from "./output.ts";
import { type Answers, chooseAll, type Keys, requireAnswers } from "./setup-answers.ts";
import { lookAround, type SetupFacts } from "./setup-facts.ts";
import { type SetupChoice, workflowText } from "./setup-file.ts";
import { keepCopy, writeWhole } from "./whole-file.ts";

interface SetupRequest extends Answers {
  readonly workflow: string | undefined;
  readonly dryRun: boolean;
  readonly force: boolean;
  /** The title of a first issue in symphony's own tracker. */
  readonly issue: string | undefined;
}

/** Finds out, asks, writes the file as a whole, stores the keys that it names, checks it, and creates the first issue. */
export async function setUp(request: SetupRequest, context: CommandContext) {
  requireAnswers(request, context);
  const { workflowPath, dataDir } = placeOf(request.workflow, context);
  const old = await earlierIn(workflowPath);
  if (old !== null && !request.force && !request.dryRun) {
    context.note(`${workflowPath} exists: without --force it stays as it is`);
  }
  const dir = dirname(workflowPath);
  if (!request.dryRun && (old === null || request.force)) requireWritable(dir, workflowPath);
  const keys = await knownKeys(dataDir, context.env);
  const around = existsSync(dir) ? dir : context.where.cwd;
  const facts = await lookAround(around, context.env, keys.has);
  sayFound(facts, context);
  const { installed, repository } = facts;
  const { dryRun } = request;
  const asking = { answers: request, keys, installed, repository, dataDir, dryRun, context };
  const choice: SetupChoice = { ...(await chooseAll(asking)), repository };
  if (request.issue !== undefined) requireOwn(request.issue, choice);
  const text = workflowText(choice);
  const { tracker } = choice;
  const base = { ...facts, workflow_path: workflowPath, ...summaryOf(choice), text };
  const { cwd } = context.where;
  const first = firstSteps(choice, facts, { workflowPath, dataDir, cwd });
  const nothing = { written: false, copy: null, stored: [], check: null, issue: null };
  const difference = old === null ? [] : differenceOf(old, text);
  if (dryRun) return shown({ ...base, ...nothing, refused: false, difference }, first);
  const written = await write({ workflowPath, text, force: request.force });
  if (written === null) return shown({ ...base, ...nothing, refused: true, difference }, first);
  const stored = await storeKeys(keysOf(choice), { dataDir, keys, context });
  const check = await checkFile(
    { file: workflowPath, allowUnknown: false, offline: false },
    context,
  );
  if (request.issue !== undefined && !check.ok) {
    context.note("The issue was not created: the file has errors");
  }
  const issue =
    request.issue === undefined || !check.ok
      ? null
      : await firstIssue(request.issue, { dataDir, workflowPath }, context);
  const done = { written: true, refused: false, ...written, stored, check, difference, issue };
  return shown(
    { ...base, ...done },
    issue === null ? first : first.filter((one) => !one.startsWith(String(tracker.setup.first))),
  );
}

/** The issues of other trackers are seen by many, or need the server. */
function requireOwn(title: string, { tracker }: SetupChoice): void {
  if (title.trim() === "") {
    const hint = 'such as: symphony init --issue "Fix the login page"';
    throw new SymphonyError("usage", "--issue needs a title", { hint });
  }
  if (tracker.kind === "local") return;
  throw new SymphonyError("usage", "--issue is for symphony's own tracker, --tracker local", {
    hint: `leave --issue out: the issues of ${tracker.kind} are made there`,
  });
}

async function firstIssue(title: string, project: Project, context: CommandContext) {
  const { openOfflineIssues } = await import("./offline.ts");
  const access = await openOfflineIssues(project, { ...context, note() {} });
  try {
    const { identifier } = await access.create({ title });
    return { identifier, title };
  } finally {
    access.close();
  }
}

/** The text that is in the place of the file; null: nothing is. Rejects for what no workflow file can be, such as a pipe. */
async function earlierIn(path: string): Promise<string | null> {
  if (!lstatSync(path, { throwIfNoEntry: false })) return null;
  try {
    return Buffer.from(await readWorkflow(path)).toString();
  } catch (cause) {
    const message = `something else is in the place of the workflow file: ${messageOf(cause)}`;
    const hint = `look at it (ls -l ${path}), move it away, then: symphony init`;
    throw new SymphonyError("missing_workflow_file", message, { cause, hint });
  }
}

interface KnownKeys extends Keys {
  isStored(name: string): boolean;
}

/** The stored secrets first, then the environment. */
async function knownKeys(dataDir: string, env: CommandContext["env"]): Promise<KnownKeys> {
  const redactor = createRedactor();
  const secrets = existsSync(dataDir)
    ? await openSecrets({ dir: dataDir, env, clock: systemClock, redactor })
    : null;
  const typed = new Map<string, string>();
  const lookup = (name: string) =>
    typed.get(name) ?? secrets?.lookup(name) ?? (env[name]?.trim() || undefined);
  return {
    lookup,
    has: (name) => lookup(name) !== undefined,
    learn: (name, value) => void typed.set(name, value),
    isStored: (name) => !typed.has(name) && secrets?.lookup(name) !== undefined,
  };
}

function sayFound({ repository, remark, installed }: SetupFacts, { note }: CommandContext): void {
  const where =
    repository === null
      ? "none, each issue gets an empty directory"
      : `${repository.url}, ${repository.branch === null ? "no branch is checked out" : `branch ${repository.branch}`}`;
  note(`repository: ${remark === null ? where : `${where}; ${remark}`}`);
  const agents = installed.map(
    ({ program, login }) => `${program.name}${loginRemarks[login ?? "none"]}`,
  );
  note(`agents: ${agents.join(", ") || "none of codex, claude, gemini and opencode"}`);
}

const loginRemarks = {
  ...{ file: "", key: "", none: " (no login)" },
  unseen: " (its login may be in a keyring, which cannot be seen from here)",
};

function summaryOf({ tracker, project, agent, level }: SetupChoice) {
  return { tracker: tracker.kind, project, agent: agent.name, level };
}

interface Order {
  readonly workflowPath: string;
  readonly text: string;
  readonly force: boolean;
}

/** null: there is a file, and it was not to be replaced. */
async function write({
  workflowPath,
  text,
  force,
}: Order): Promise<{ copy: string | null } | null> {
  try {
    if (!force || !existsSync(workflowPath)) {
      return (await writeWhole(workflowPath, text, { mode: 0o644, isNew: true }))
        ? { copy: null }
        : null;
    }
    const copy = await keepCopy(workflowPath);
    await writeWhole(workflowPath, text, { mode: statSync(workflowPath).mode & 0o777 });
    return { copy };
  } catch (cause) {
    throw unwritten(workflowPath, cause);
  }
}

function unwritten(path: string, cause: unknown): SymphonyError {
  const hint = "check the directory's permissions and free space, then: symphony init";
  const message = `Cannot write ${path}: ${messageOf(cause)}`;
  return new SymphonyError("storage_unavailable", message, { cause, hint });
}

/** Before anything is asked or a key is typed. */
function requireWritable(dir: string, path: string): void {
  try {
    accessSync(dir, constants.W_OK);
  } catch (cause) {
    throw unwritten(path, cause);
  }
}

function keysOf({ tracker, repository, agent }: SetupChoice): readonly string[] {
  const names = [tracker.setup.keyName, repository?.keyName ?? null, ...agent.keyNames];
  return [...new Set(names.filter((name) => name !== null))];
}

interface Storing {
  readonly dataDir: string;
  readonly keys: KnownKeys;
  readonly context: CommandContext;
}

/** Stores those that are known and not stored yet; returns their names. */
async function storeKeys(names: readonly string[], { dataDir, keys, context }: Storing) {
  const found = names.flatMap((name) => {
    const value = keys.lookup(name);
    return value === undefined || keys.isStored(name) ? [] : [{ name, value }];
  });
  if (found.length === 0) return [];
  const access = await openOfflineSecrets(dataDir, context.env);
  try {
    for (const { name, value } of found) await access.put(name, value);
  } finally {
    await access.close();
  }
  return found.map(({ name }) => name);
}

const contextLines = 2;

/** Lines that differ, as in a patch, with some around them; empty when none does. */
function differenceOf(old: string, text: string): readonly string[] {
  const entries = diff(old.split("\n"), text.split("\n"));
  const near = new Set(
    entries.flatMap(([kind], at) =>
      kind === 0
        ? []
        : Array.from({ length: 2 * contextLines + 1 }, (_, step) => at + step - contextLines),
    ),
  );
  const signs: Readonly<Record<number, string>> = { 1: "-", [-1]: "+" };
  return entries.flatMap(([kind, line], at) =>
    near.has(at) ? [`${signs[kind] ?? " "}${line}`] : [],
  );
}

interface Done extends ReturnType<typeof summaryOf>, SetupFacts {
  readonly workflow_path: string;
  readonly text: string;
  readonly written: boolean;
  /** It exists, and was not to be replaced. */
  readonly refused: boolean;
  readonly copy: string | null;
  readonly stored: readonly string[];
  readonly check: Awaited<ReturnType<typeof checkFile>> | null;
  readonly difference: readonly string[];
  readonly issue: { readonly identifier: string; readonly title: string } | null;
}

/** In the words of the document. */
function shown({ installed, remark, repository, ...rest }: Done, first: readonly string[]) {
  const agents = installed.map(({ program, path, login }) => ({ name: program.name, path, login }));
  const found = { repository: repository?.url ?? null, remark, agents };
  return { ...rest, found, next: nextOf(rest, first) };
}

function nextOf(
  { refused, written, check, difference }: Omit<Done, keyof SetupFacts>,
  first: readonly string[],
): readonly string[] {
  if (refused) return [difference.length === 0 ? "symphony doctor" : "symphony init --force"];
  if (!written) return ["symphony init"];
  return check !== null && !check.ok ? ["symphony doctor"] : first;
}

/** What is typed once the file is right. Only the issues of the local tracker are made without a server. */
function firstSteps(
  { agent, tracker, repository }: SetupChoice,
  { installed }: SetupFacts,
  { workflowPath, dataDir, cwd }: Place & { readonly cwd: string },
): readonly string[] {
  const own = installed.find(({ program }) => program.name === agent.name);
  const commit = repository?.isEmpty
    ? ["git commit --allow-empty -m First   # agents need a commit to start from"]
    : [];
  const login =
    own?.login === null
      ? [`${own.program.login}   # ${agent.name} has no login`]
      : own?.login === "unseen"
        ? ["symphony doctor --smoke   # one turn: whether its login is in the keyring"]
        : [];
  const { keyName } = tracker.setup;
  const serve = serveLine({ workflowPath, dataDir }, cwd);
  const isHere = dataDir === join(cwd, ".symphony");
  const where = isHere ? "" : ` --data-dir ${shellQuoted(dataDir)}`;
  const first = tracker.setup.first && `${tracker.setup.first}${where}`;
  if (first === null) return [...commit, ...login, serve];
  return [
    ...commit,
    ...login,
    ...(keyName === null ? [first, serve] : [serve, `${first}   # in another terminal`]),
  ];
}

type SetupReport = Awaited<ReturnType<typeof setUp>>;

export function printSetup(report: SetupReport, context: CommandContext): void {
  const {
    workflow_path: path,
    refused,
    written,
    difference,
    text,
    copy,
    stored,
    check,
    issue,
  } = report;
  if (refused) {
    const same = difference.length === 0;
    if (!same) context.print(plain(difference.join("\n")));
    context.note(`${path} exists and was not changed${same ? ": it is the same" : ""}`);
  } else if (!written) context.print(plain(text.trimEnd()));
  else {
    const said = [
      `Written to ${path}: ${report.tracker} tracker, ${report.agent} at level ${report.level}`,
      ...(copy === null ? [] : [`The earlier file is kept in ${copy}`]),
      ...(stored.length > 0 ? [`Stored as secrets: ${stored.join(", ")}`] : []),
      ...(issue === null ? [] : [`${issue.identifier} created: ${issue.title}`]),
    ];
    context.print(foldLines(said.map(plainLine), context.width, 4).join("\n"));
    if (check !== null) printCheck(check, context);
  }
  for (const one of report.next) context.note(`next: ${one}`);
}
