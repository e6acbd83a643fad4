import type { Command } from "commander";
import type { Client } from "../client/client.ts";
import type { Api } from "../contract/api.ts";
import { SymphonyError } from "../core/model/errors.ts";
import type { CommandContext, Run } from "./context.ts";
import { closest, exitCodes, listerOf, onIssue, withHint } from "./failure.ts";
import { examples } from "./help.ts";
import { ask, textOrStdin } from "./input.ts";
import { keptElsewhereFacts, keptFacts } from "./kept.ts";
import { factLines, plainLine, relative, since, statusStyle, tableLines } from "./output.ts";
import type { SnapshotView } from "./snapshot.ts";

interface TransitionOptions {
  readonly reason?: string;
}

export function declareTransition(command: Command, run: Run): void {
  examples(
    command,
    "symphony transition ENG-123                  where it can go",
    "symphony transition ENG-123 queued           let it run (again)",
    'symphony transition ENG-123 held --reason "waits for the release"',
    'symphony transition ENG-123 "Human Review"   a state of the tracker',
  )
    .argument("<issue>", "issue identifier, such as ENG-123")
    .argument("[to]", "queued, held, completed, or a state of the tracker; left out: list them")
    .option("--reason <text>", "why, for the record (at most 1,000 characters)")
    .action((issue: string, to: string | undefined, options: TransitionOptions) =>
      run((context) =>
        to === undefined
          ? listTargets(issue, context)
          : transition({ issue, to, ...options }, context),
      ),
    );
}

interface Move extends TransitionOptions {
  readonly issue: string;
  readonly to: string;
}

export async function transition(
  { issue: id, to, reason }: Move,
  context: CommandContext,
): Promise<number> {
  const client = await context.client();
  const body = { to, ...(reason !== undefined && { reason }) };
  const moved = await onIssue(id, listerOf(client), () =>
    client.issues
      .transition({ params: { id }, body })
      .catch((error: unknown) => refuse(error, { id, to, client })),
  );
  if (context.json) context.printJson(moved);
  context.note(`${moved.issue_identifier}: ${moved.from} → ${moved.to}`);
  return exitCodes.done;
}

/** Says where the issue may go instead. */
async function refuse(
  error: unknown,
  { id, to, client }: { id: string; to: string; client: Client<Api> },
): Promise<never> {
  if (!(error instanceof SymphonyError) || error.code !== "transition_not_allowed") throw error;
  const names = await targetsOf(id, client).then(
    (targets) => targets.map((target) => target.to),
    () => [],
  );
  const meant = closest(to, names);
  if (meant !== null) throw withHint(error, `did you mean "${meant}"?`);
  throw names.length === 0 ? error : withHint(error, `it can go to ${names.join(", ")}`);
}

async function targetsOf(id: string, client: Client<Api>) {
  const { issues } = await client.system.transitions({ query: { issue: id } });
  return Object.values(issues)[0]?.transitions ?? [];
}

/** Prints where the issue may go. */
export async function listTargets(id: string, context: CommandContext): Promise<number> {
  const client = await context.client();
  const reply = await onIssue(id, listerOf(client), () =>
    client.system.transitions({ query: { issue: id } }),
  );
  if (context.json) {
    context.printJson(reply);
    return exitCodes.done;
  }
  const targets = Object.values(reply.issues)[0]?.transitions ?? [];
  const rows = targets.map(({ to, kind }) => [
    to,
    kind === "status" ? "status of symphony" : "state of the tracker",
  ]);
  const columns = [{ title: "TO" }, { title: "KIND" }];
  const paint = await context.paint();
  context.print(tableLines({ columns, rows, width: context.width, paint }).join("\n"));
  return exitCodes.done;
}

export function declareSteer(command: Command, run: Run): void {
  examples(
    command,
    'symphony steer ENG-123 "do the auth first"',
    "git diff main | symphony steer ENG-123 -",
  )
    .argument("<issue>", "issue identifier, such as ENG-123")
    .argument("[message]", "what the agent should take into account; - reads it from stdin")
    .action((issue: string, message: string | undefined) =>
      run((context) => steer(issue, message, context)),
    );
}

/** Resolves once the agent has accepted the message. */
export async function steer(
  id: string,
  given: string | undefined,
  context: CommandContext,
): Promise<number> {
  const instead = `symphony steer ${id} "the message", or - to read it from stdin`;
  const written = given ?? (await ask({ message: "Message", instead }, context));
  const message = await textOrStdin(written, context);
  const client = await context.client();
  const reply = await onIssue(id, listerOf(client), () =>
    client.issues.steer({ params: { id }, body: { message } }),
  );
  if (context.json) context.printJson(reply);
  context.note(`The agent on ${reply.issue_identifier} has the message (${reply.status})`);
  return exitCodes.done;
}

interface AbortOptions {
  readonly reason?: string;
}

export function declareAbort(command: Command, run: Run): void {
  examples(command, 'symphony abort ENG-123 --reason "wrong branch"')
    .argument("<issue>", "issue identifier, such as ENG-123")
    .option("--reason <text>", "why, for the record (at most 1,000 characters)")
    .action((issue: string, options: AbortOptions) =>
      run((context) => abort(issue, options, context)),
    );
}

/** Stops the running attempt; the issue stays held until somebody moves it to `queued`. */
export async function abort(
  id: string,
  { reason }: AbortOptions,
  context: CommandContext,
): Promise<number> {
  const client = await context.client();
  const body = reason === undefined ? {} : { reason };
  const reply = await onIssue(id, listerOf(client), () =>
    client.issues.abort({ params: { id }, body }),
  );
  if (context.json) context.printJson(reply);
  const name = reply.issue_identifier;
  context.note(
    reply.already_stopping
      ? `${name} is already being stopped`
      : `${name} is being stopped and then held; symphony transition ${name} queued lets it run again`,
  );
  return exitCodes.done;
}

interface RespondOptions {
  readonly answer?: readonly string[];
}

export function declareRespond(command: Command, run: Run): void {
  examples(
    command,
    "symphony respond ENG-123 approve",
    "symphony respond ENG-123 decline",
    'symphony respond ENG-123 "Blue, and keep the old name"',
    "symphony respond ENG-123 --answer Blue --answer approve   several questions; also for such words",
  )
    .argument("<issue>", "issue identifier, such as ENG-123")
    .argument("[answer]", "approve, decline, or the answer to a question; - reads it from stdin")
    .option("--answer <text>", "one answer; repeat it for several questions, in order", append)
    .action((issue: string, said: string | undefined, options: RespondOptions) =>
      run((context) => respond({ issue, said, ...options }, context)),
    );
}

function append(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}

interface Words extends RespondOptions {
  readonly issue: string;
  readonly said: string | undefined;
}

/** Hands the answer to the agent that waits for it, or to the next attempt when its run has ended. */
export async function respond(words: Words, context: CommandContext): Promise<number> {
  const { issue: id } = words;
  const body = await bodyOf(words, context);
  const client = await context.client();
  const reply = await onIssue(id, listerOf(client), () =>
    client.issues.respond({ params: { id }, body }),
  );
  if (context.json) context.printJson(reply);
  context.note(
    reply.applies === "now"
      ? `The agent on ${reply.issue_identifier} has the answer and goes on`
      : `${reply.issue_identifier} is started again and goes on with the answer`,
  );
  return exitCodes.done;
}

type Body = { readonly decision: "approve" | "decline" } | { readonly answers: string[] };

async function bodyOf({ issue, said, answer }: Words, context: CommandContext): Promise<Body> {
  if ((said === undefined) === (answer === undefined)) {
    throw new SymphonyError("usage", "give one answer, or --answer for each question", {
      hint: `symphony respond ${issue} approve`,
    });
  }
  if (answer !== undefined) return { answers: [...answer] };
  if (said === "approve" || said === "decline") return { decision: said };
  return { answers: [await textOrStdin(said ?? "", context)] };
}

const maxRows = 1_000;

export function declareInbox(command: Command, run: Run): void {
  examples(
    command,
    "symphony inbox",
    "symphony inbox --json | jq -r '.items[].issue_identifier'",
  ).action(() => run((context) => inbox(context)));
}

interface Item {
  readonly issue_identifier: string;
  readonly title: string;
  /** `approval`, `question`, `held` or `failed`. */
  readonly kind: string;
  readonly prompt: string;
  readonly options: readonly string[];
  readonly since: string;
  /** When the agent gives up waiting, if it lives. */
  readonly until: string | null;
  readonly next: string;
}

/** Everything that needs a person: what agents wait for first, then what was stopped and stays so. */
export async function inbox(context: CommandContext): Promise<number> {
  const client = await context.client();
  const snapshot = await client.system.state({ query: { limit: maxRows } });
  const items = itemsOf(snapshot);
  if (context.json) context.printJson({ items, total: items.length });
  else if (items.length > 0) context.print((await linesOf(items, context)).join("\n"));
  if (items.length === 0) context.note("Nothing needs you");
  return exitCodes.done;
}

function itemsOf({ blocked, held, failed }: SnapshotView): readonly Item[] {
  const asked = blocked.map(({ issue_identifier, title, needs }): Item => {
    const { kind, prompt, options, since: start, until } = needs;
    const answer = kind === "approval" ? "approve" : '"ANSWER"';
    const next = `symphony respond ${issue_identifier} ${answer}`;
    return { issue_identifier, title, kind, prompt, options, since: start, until, next };
  });
  const stopped = [...held, ...failed].map((row): Item => {
    const { issue_identifier, title, reason, error, status, since: start } = row;
    const prompt = error === null ? reason : `${reason}: ${error}`;
    const next = `symphony transition ${issue_identifier} queued`;
    const base = { issue_identifier, title, prompt, options: [], since: start, until: null };
    return { ...base, kind: status, next };
  });
  return [...asked, ...stopped];
}

async function linesOf(items: readonly Item[], context: CommandContext): Promise<string[]> {
  const nowMs = Date.now();
  return tableLines({
    width: context.width,
    paint: await context.paint(),
    columns: [
      { title: "ISSUE" },
      { title: "NEEDS" },
      { title: "FOR", align: "right" },
      { title: "UNTIL" },
      { title: "WHAT", flexible: true },
      { title: "ANSWER WITH" },
    ],
    rows: items.map((item) => [
      item.issue_identifier,
      item.kind,
      since(item.since, nowMs),
      item.until === null ? "-" : relative(item.until, nowMs),
      item.options.length > 0 ? `${item.prompt} (${item.options.join(", ")})` : item.prompt,
      item.next,
    ]),
  });
}

export function declareExplain(command: Command, run: Run): void {
  examples(command, "symphony explain ENG-123")
    .argument("<issue>", "issue identifier, such as ENG-123")
    .action((issue: string) => run((context) => explain(issue, context)));
}

/** Every gate between an issue and an agent, and whether the issue passes it. */
export async function explain(id: string, context: CommandContext): Promise<number> {
  const client = await context.client();
  const detail = await onIssue(id, listerOf(client), () =>
    client.issues.detail({ params: { id } }),
  );
  const {
    issue_identifier,
    status,
    issue,
    explain: gates,
    last_error,
    kept,
    kept_elsewhere,
  } = detail;
  if (context.json) {
    const shown = {
      issue_identifier,
      status,
      state: issue.state,
      explain: gates,
      last_error,
      kept,
      kept_elsewhere,
    };
    context.printJson(shown);
    return exitCodes.done;
  }
  const paint = await context.paint();
  const shown = status ?? "idle";
  const rows = gates.map(({ gate, pass, detail: why }) => {
    const mark = pass ? paint.green("ok") : paint.red("no");
    return `${mark}  ${plainLine(gate)}: ${plainLine(why)}`;
  });
  const facts = factLines(
    [
      ["issue", `${issue_identifier} ${issue.title}`],
      ["status", { text: shown, style: statusStyle(shown) }],
      ["state", issue.state],
      ...(last_error === null ? [] : [["last error", last_error] as const]),
      ...keptFacts(kept),
      ...keptElsewhereFacts(kept_elsewhere),
    ],
    paint,
  );
  context.print([...facts, "", ...rows].join("\n"));
  return exitCodes.done;
}
