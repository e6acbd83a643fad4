import type { Client } from "../client/client.ts";
import type { Api } from "../contract/api.ts";
import type { Reply } from "../contract/route.ts";
import { SymphonyError, withHint } from "../core/model/errors.ts";
import { oneLine } from "../core/text/text.ts";
import type { CommandContext } from "./context.ts";
import { closest, onServerIssue } from "./failure.ts";
import { ask, textOrStdin } from "./input.ts";
import { reviewFacts, templateText } from "./issue-facts.ts";
import { keptElsewhereFacts, keptFacts } from "./kept.ts";
import {
  factLines,
  foldLines,
  plainLine,
  printPage,
  relative,
  since,
  statusStyle,
} from "./output.ts";
import type { SnapshotView } from "./snapshot.ts";
import { atOption, issueArgument, row } from "./table.ts";

const reasonOption = {
  name: "reason",
  value: "text",
  summary: "why, for the record (at most 1,000 characters)",
} as const;

/** Moves an issue, or without a target lists where it may go. */
export const transitionCommand = row({
  examples: [
    "symphony transition ENG-123                  where it can go",
    "symphony transition ENG-123 queued           let it run (again)",
    'symphony transition ENG-123 held --reason "waits for the release"',
    'symphony transition ENG-123 "Human Review"   a state of the tracker',
  ],
  arguments: [
    issueArgument,
    {
      name: "to",
      summary: "queued, held, completed, or a state of the tracker; omit it to list them",
      optional: true,
    },
  ],
  options: [reasonOption],
  call: ({ issue: id, to, reason }, context) =>
    onServerIssue(id, context, async (client) => {
      if (to === undefined) return client.system.transitions({ query: { issue: id } });
      const body = { to, ...(reason !== undefined && { reason }) };
      return client.issues
        .transition({ params: { id }, body })
        .catch((error: unknown) => refuse(error, { id, to, client }));
    }),
  async print(reply, context) {
    if ("from" in reply) {
      const { issue_identifier: name, from, to } = reply;
      context.note(`${name}: ${from} → ${to}; ${afterMove(name, to)}`);
      return;
    }
    const targets = Object.values(reply.issues)[0]?.transitions ?? [];
    const rows = targets.map(({ to, kind }) => [
      to,
      kind === "status" ? "status of symphony" : "state of the tracker",
    ]);
    await printPage({ columns: [{ title: "TO" }, { title: "KIND" }], rows }, context);
  },
});

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

/** Resolves once the agent has accepted the message. */
export const steerCommand = row({
  examples: [
    'symphony steer ENG-123 "do the auth first"',
    "git diff main | symphony steer ENG-123 -",
  ],
  arguments: [
    issueArgument,
    {
      name: "message",
      summary: "what the agent should take into account; - reads it from stdin",
      optional: true,
    },
  ],
  async call({ issue: id, message: given }, context) {
    const instead = `symphony steer ${id} "the message", or - to read it from stdin`;
    const written = given ?? (await ask({ message: "Message", instead }, context));
    const message = await textOrStdin(written, context);
    return onServerIssue(id, context, (client) =>
      client.issues.steer({ params: { id }, body: { message } }),
    );
  },
  print: (reply, { note }) =>
    note(
      `The agent on ${reply.issue_identifier} has the message (${reply.status}); symphony attempt ${reply.attempt_id} --follow shows what it does`,
    ),
});

/** Stops the running attempt; the issue stays held until a person moves it to `queued`. */
export const abortCommand = row({
  examples: ['symphony abort ENG-123 --reason "wrong branch"'],
  arguments: [issueArgument],
  options: [reasonOption],
  call({ issue: id, reason }, context) {
    const body = reason === undefined ? {} : { reason };
    return onServerIssue(id, context, (client) => client.issues.abort({ params: { id }, body }));
  },
  print({ issue_identifier: name, already_stopping: isStopping }, { note }) {
    const next = `symphony transition ${name} queued lets it run again`;
    note(
      isStopping
        ? `${name} is already being stopped`
        : `${name} is being stopped and then held; ${next}`,
    );
  },
});

/** Hands the answer to the agent that waits for it, or to the next attempt when its run has ended. */
export const respondCommand = row({
  examples: [
    "symphony respond ENG-123 approve",
    "symphony respond ENG-123 decline",
    'symphony respond ENG-123 "Blue, and keep the old name"',
    "symphony respond ENG-123 --answer Blue --answer approve   to two questions",
  ],
  arguments: [
    issueArgument,
    {
      name: "answer",
      key: "response",
      summary: "approve, decline, or the answer to a question; - reads it from stdin",
      optional: true,
    },
  ],
  options: [
    {
      name: "answer",
      value: "text",
      summary: "one answer; repeat it for several questions, in order",
      repeats: true,
    },
    {
      name: "id",
      value: "request",
      summary: "only if this is asked: `id` of inbox --json",
    },
  ],
  async call(given, context) {
    const { issue: id } = given;
    const asked = given.id === undefined ? {} : { id: given.id };
    const body = { ...(await bodyOf(given, context)), ...asked };
    return onServerIssue(id, context, (client) => client.issues.respond({ params: { id }, body }));
  },
  print: ({ applies, asked, issue_identifier: issue }, { note }) =>
    note(
      applies === "now"
        ? `The agent on ${issue} has the answer${toWhat(asked)} and continues; ${following(issue)}`
        : `${issue} is started again with the answer${toWhat(asked)}, and may request an approval once more; ${following(issue)}`,
    ),
});

function toWhat(asked: string | null): string {
  return asked === null ? "" : ` to "${oneLine(asked, 120)}"`;
}

function following(issue: string): string {
  return `symphony events --follow --issue ${issue} shows what it does`;
}

/** What is worth knowing after a move. */
function afterMove(issue: string, to: string): string {
  if (to === "held") return `symphony transition ${issue} queued lets it run again`;
  if (to === "queued") return `symphony explain ${issue} says when it starts`;
  return `symphony issue show ${issue} has all of it`;
}

interface Given {
  readonly issue: string;
  readonly response: string | undefined;
  readonly answer: readonly string[];
}

type Body = { readonly decision: "approve" | "decline" } | { readonly answers: string[] };

async function bodyOf({ issue, response, answer }: Given, context: CommandContext): Promise<Body> {
  if ((response === undefined) === (answer.length === 0)) {
    throw new SymphonyError("usage", "give one answer, or --answer for each question", {
      hint: `symphony respond ${issue} approve`,
    });
  }
  if (response === undefined) return { answers: [...answer] };
  if (response === "approve" || response === "decline") return { decision: response };
  return { answers: [await textOrStdin(response, context)] };
}

const maxRows = 1_000;

/** Everything that needs a person: first what agents wait for, then offered work, then issues that are held or have failed. */
export const inboxCommand = row({
  examples: ["symphony inbox", "symphony inbox --json | jq -r '.items[].issue_identifier'"],
  async call(_, context) {
    const client = await context.client();
    const items = itemsOf(await client.system.state({ query: { limit: maxRows } }));
    return { items, total: items.length };
  },
  async print({ items }, context) {
    if (items.length > 0) await printItems(items, context);
    else context.note("Nothing needs you");
  },
});

interface Item {
  readonly issue_identifier: string;
  readonly title: string;
  /** `approval`, `question`, `review`, `held` or `failed`. */
  readonly kind: string;
  readonly prompt: string;
  readonly options: readonly string[];
  readonly since: string;
  /** When a waiting agent gives up; null when nothing waits. */
  readonly until: string | null;
  /** Of the request, for `respond --id`; null: nothing waits for an answer. */
  readonly id: string | null;
  /** What the same agent asks besides. */
  readonly further: readonly string[];
  readonly next: string;
  /** Of its pull request; null: it has none. */
  readonly url: string | null;
}

const notAsked = { options: [], until: null, id: null, further: [] };

function itemsOf({ blocked, review, held, failed }: SnapshotView): readonly Item[] {
  const questions = blocked.map(({ issue_identifier, title, needs, next }): Item => {
    const { since: start, until, kind, prompt, options, id, further } = needs;
    const base = { issue_identifier, title, kind, prompt, options, id, further };
    return { ...base, since: start, until, next, url: null };
  });
  const offered = review.flatMap((row): Item[] => {
    const { issue_identifier, title, delivery, since: start, next } = row;
    if (next === null) return [];
    const base = {
      issue_identifier,
      title,
      kind: "review",
      ...notAsked,
      since: start,
    };
    const prompt = delivery?.summary ?? "waits for a person";
    return [{ ...base, prompt, next, url: addressOf(delivery) }];
  });
  const stopped = [...held, ...failed].map((row): Item => {
    const { issue_identifier, title, reason, error, status, delivery, next } = row;
    const url = addressOf(delivery);
    const what = error === null ? reason : `${reason}: ${error}`;
    const prompt = url === null || what.includes(url) ? what : `${what} (${url})`;
    const base = { issue_identifier, title, prompt, ...notAsked, since: row.since };
    return { ...base, kind: status, next, url };
  });
  return [...questions, ...offered, ...stopped];
}

type Delivered = SnapshotView["review"][number]["delivery"];

function addressOf(delivery: Delivered): string | null {
  return delivery?.pull_request?.url ?? null;
}

function whatOf({ prompt, options, further }: Item): string {
  const choices = options.length > 0 ? ` (${options.join(", ")})` : "";
  const then = further.map((one) => `; then: ${one}`).join("");
  return `${prompt}${choices}${then}`;
}

function printItems(items: readonly Item[], context: CommandContext): Promise<void> {
  const nowMs = Date.now();
  const columns = [
    { title: "ISSUE", drop: 4 },
    { title: "NEEDS", drop: 3 },
    { title: "FOR", align: "right", drop: 2 },
    { title: "UNTIL", drop: 1 },
    { title: "WHAT", flexible: true },
    { title: "ANSWER WITH" },
  ] as const;
  const rows = items.map((item) => [
    item.issue_identifier,
    item.kind,
    since(item.since, nowMs),
    item.until === null ? "-" : relative(item.until, nowMs),
    whatOf(item),
    item.next,
  ]);
  return printPage({ columns, rows }, context);
}

/** When the tracker was read, and when it is read next. */
function readText({ at, next_at: nextAt, next }: Reply<Api["issues"]["detail"]>["tracker_read"]) {
  const now = Date.now();
  const when = nextAt === null ? next : `${next}, ${relative(nextAt, now)}`;
  return at === null ? `next: ${when}` : `${relative(at, now)}; next: ${when}`;
}

/** Every gate between an issue and an agent, and whether the issue passes it. */
export const explainCommand = row({
  examples: ["symphony explain ENG-123", "symphony explain ENG-123 --at 2026-11-23T17:00:00Z"],
  arguments: [issueArgument],
  options: [atOption],
  call: ({ issue: id, at }, context) =>
    onServerIssue(id, context, (client) =>
      client.issues.detail({ params: { id }, query: at === undefined ? {} : { at } }),
    ),
  document: ({ issue, ...shown }) => ({
    issue_identifier: shown.issue_identifier,
    status: shown.status,
    state: issue.state,
    template: shown.template,
    explain: shown.explain,
    tracker_read: shown.tracker_read,
    delivery: shown.delivery,
    feedback: shown.feedback,
    last_error: shown.last_error,
    kept: shown.kept,
    kept_elsewhere: shown.kept_elsewhere,
  }),
  async print(shown, context) {
    const paint = await context.paint();
    const status = shown.status ?? "idle";
    const rows = shown.explain.map(({ gate, pass, detail: why, opens }) => {
      const mark = pass ? paint.green("ok") : paint.red("no");
      const next = opens == null ? "" : paint.dim(`; opens by: ${plainLine(opens)}`);
      return `${mark}  ${plainLine(gate)}: ${plainLine(why)}${next}`;
    });
    const facts = factLines(
      [
        ["issue", `${shown.issue_identifier} ${shown.issue.title}`],
        ["status", { text: status, style: statusStyle(status) }],
        ["state", shown.issue.state],
        ["read", readText(shown.tracker_read)],
        ["template", templateText(shown.template)],
        ...reviewFacts(shown),
        ...(shown.last_error === null ? [] : [["last error", shown.last_error] as const]),
        ...keptFacts(shown.kept),
        ...keptElsewhereFacts(shown.kept_elsewhere),
      ],
      paint,
      context.width,
    );
    context.print([...facts, "", ...foldLines(rows, context.width, 4)].join("\n"));
  },
});
