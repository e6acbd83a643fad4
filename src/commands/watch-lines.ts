import type { StreamEvent } from "../client/events.ts";
import { messageOf } from "../core/model/errors.ts";
import {
  conflictsIn,
  conflictWords,
  lanesOf,
  matches,
  nextOf,
  type Row,
  wordsOf,
} from "../web/lanes.ts";
import type { CommandContext } from "./context.ts";
import { eventLine } from "./event-line.ts";
import { exitCodes } from "./failure.ts";
import { showInBrowser } from "./input.ts";
import type { Paint } from "./output.ts";
import { visible } from "./screen.ts";
import type { SnapshotView } from "./snapshot.ts";
import { Acts, type Deed } from "./watch-acts.ts";
import { Feed, type Link } from "./watch-feed.ts";
import { badgeOf } from "./watch-frame.ts";
import { answersTo, type Choice, type Order } from "./watch-model.ts";
import { movesOf, placesOf } from "./watch-places.ts";

const help = [
  "l             list all issues; l TEXT only those with the text",
  "r ISSUE TEXT  respond: the number of a choice, or text",
  "s ISSUE TEXT  steer: guidance for the agent",
  "a ISSUE       abort; asked once",
  "t ISSUE       transition: choose where it goes",
  "o ISSUE       open: choose the page, the pull request or the workspace",
  "q             quit; the server and its agents continue",
];

/** The same as lines that are appended and never changed, for a screen reader: what happens, and typed commands. */
export async function watchLines(context: CommandContext): Promise<number> {
  return new Lines(context, await context.paint()).run();
}

class Lines {
  readonly #context: CommandContext;
  readonly #paint: Paint;
  readonly #ended = Promise.withResolvers<number>();
  readonly #stop = new AbortController();
  readonly #feed: Feed;
  readonly #acts: Acts;
  #snapshot: SnapshotView | null = null;
  #link: Link["kind"] = "live";
  /** Questions that were printed, by issue and time. */
  readonly #asked = new Set<string>();
  /** What the next line of the person answers. */
  #next: readonly Choice[] | null = null;

  constructor(context: CommandContext, paint: Paint) {
    this.#context = context;
    this.#paint = paint;
    this.#acts = new Acts(context, () => {});
    const listener = {
      state: (snapshot: SnapshotView) => this.#guard(() => this.#take(snapshot)),
      event: (event: StreamEvent) => this.#guard(() => this.#happened(event)),
      link: (link: Link) => this.#guard(() => this.#connection(link)),
      anew: () => {},
    };
    this.#feed = new Feed(context, listener, this.#stop.signal);
  }

  async run(): Promise<number> {
    const interrupted = this.#context.interrupted();
    interrupted.addEventListener("abort", () => this.#ended.resolve(exitCodes.interrupted));
    // It may be rejected before it is awaited.
    this.#ended.promise.catch(() => {});
    await this.#feed.open();
    this.#list("");
    this.#say("Type ? and Enter for the commands.");
    const { createInterface } = process.getBuiltinModule("node:readline");
    const typed = createInterface({ input: this.#context.stdin, terminal: false });
    typed.on("line", (line) => void this.#typed(line.trim()).catch(this.#ended.reject));
    typed.once("close", () => this.#ended.resolve(exitCodes.done));
    this.#feed.follow().catch(this.#ended.reject);
    try {
      return await this.#ended.promise;
    } finally {
      this.#stop.abort();
      typed.close();
      this.#context.stdin.pause();
    }
  }

  #guard(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#ended.reject(error);
    }
  }

  #say(text: string): void {
    this.#context.print(visible(text));
  }

  #take(snapshot: SnapshotView): void {
    const isFirst = this.#snapshot === null;
    this.#snapshot = snapshot;
    for (const row of snapshot.blocked) {
      const name = `${row.issue_identifier} ${row.needs.id}`;
      if (this.#asked.has(name)) continue;
      this.#asked.add(name);
      if (!isFirst) this.#ask(row);
    }
  }

  #ask({ issue_identifier: issue, needs }: SnapshotView["blocked"][number]): void {
    this.#say(`${issue} needs you: ${needs.prompt}`);
    const options = answersTo(needs);
    for (const [index, option] of options.entries()) this.#say(`  ${index + 1} ${option}`);
    this.#say(`  answer with: r ${issue} ${options.length > 0 ? "NUMBER" : "TEXT"}`);
  }

  #happened(event: StreamEvent): void {
    this.#acts.event(event);
    // The question follows with its choices.
    if (event.type === "issue.blocked") return;
    const { issue_identifier: issueIdentifier, ...rest } = event;
    const line = eventLine({ ...rest, issueIdentifier }, this.#paint);
    if (line !== null) this.#context.print(line);
  }

  #connection(link: Link): void {
    if (link.kind === this.#link || link.kind === "read") return;
    this.#link = link.kind;
    const text = badgeOf(link);
    this.#say(link.kind === "live" ? "live again" : text);
  }

  #list(search: string): void {
    if (this.#snapshot === null) return;
    const now = Date.now();
    const conflicts = conflictsIn(this.#snapshot);
    let isEmpty = true;
    for (const { title, rows } of lanesOf(this.#snapshot, now)) {
      const shown = rows.filter((row) => matches(row, search));
      if (shown.length > 0) this.#say(`${title}: ${shown.length}`);
      for (const row of shown) {
        isEmpty = false;
        const { what, about } = wordsOf(row, now);
        const conflict = conflictWords(conflicts.get(row.issue_identifier));
        const next = "needs" in row || nextOf(row) === null ? "" : `next: ${nextOf(row)}`;
        const facts = [conflict, what, about, next].filter((text) => text !== "").join("; ");
        this.#say(`  ${row.issue_identifier} ${row.title}: ${facts}`);
      }
    }
    if (isEmpty) this.#say("No issue is queued, running or waiting.");
    if (search === "") for (const row of this.#snapshot.blocked) this.#ask(row);
  }

  async #typed(line: string): Promise<void> {
    const choices = this.#next;
    this.#next = null;
    if (choices !== null && line !== "") {
      const choice = choices[Number(line) - 1] ?? choices.find(({ label }) => label === line);
      if (choice !== undefined) return this.#obey(choice.order);
      return this.#say("Nothing was done: that is none of the choices.");
    }
    const [, letter = "", issue = "", text = ""] =
      /^(\S+)(?:\s+(\S+)(?:\s+(.*))?)?$/.exec(line) ?? [];
    if (letter === "q") return this.#ended.resolve(exitCodes.done);
    if (letter === "l") return this.#list(`${issue} ${text}`.trim());
    if (!["r", "s", "a", "t", "o"].includes(letter)) {
      if (line !== "") for (const one of help) this.#say(one);
      return;
    }
    if (issue === "") return this.#say(`${letter} needs an issue, such as ${letter} ENG-123`);
    await this.#about(letter, issue, text);
  }

  async #about(letter: string, typedIssue: string, text: string): Promise<void> {
    const row = this.#rowOf(typedIssue);
    const issue = row?.issue_identifier ?? typedIssue;
    if (letter === "s") return this.#act(issue, { type: "steer", message: text });
    if (letter === "r") return this.#respond(issue, row, text);
    if (letter === "a") {
      const order = { type: "act", issue, deed: { type: "abort" } } as const;
      return this.#choose(`Stop ${issue}? It is held, its work stays.`, [{ label: "yes", order }]);
    }
    const read = letter === "t" ? movesOf : placesOf;
    const found = await read(issue, this.#context).catch((error: unknown) => messageOf(error));
    if (typeof found === "string") return this.#say(found);
    const named = found.find(({ label }) => text !== "" && label === text);
    if (named !== undefined) return this.#obey(named.order);
    this.#choose(letter === "t" ? `Move ${issue} to` : `Open of ${issue}`, found);
  }

  #choose(label: string, choices: readonly Choice[]): void {
    this.#say(`${label} (type the number)`);
    for (const [index, choice] of choices.entries()) this.#say(`  ${index + 1} ${choice.label}`);
    this.#next = choices;
  }

  async #respond(issue: string, row: Row | null, text: string): Promise<void> {
    if (row === null || !("needs" in row)) return this.#say(`${issue} asks nothing`);
    const answer = (/^\d+$/.test(text) && answersTo(row.needs)[Number(text) - 1]) || text;
    if (answer === "") return this.#ask(row);
    if (row.needs.kind === "question") return this.#act(issue, { type: "respond", answer });
    if (answer !== "approve" && answer !== "decline") return this.#ask(row);
    await this.#act(issue, { type: "respond", decision: answer });
  }

  async #obey(order: Order): Promise<void> {
    if (order.type === "act") return this.#act(order.issue, order.deed);
    if (order.type !== "show") return;
    this.#say(order.place);
    if (/^https?:/.test(order.place)) await showInBrowser(order.place, this.#context);
  }

  async #act(issue: string, deed: Deed): Promise<void> {
    const done = await this.#acts.start(issue, deed, this.#rowOf(issue));
    const act = this.#acts.of(issue);
    if (done) this.#say(`${issue}: accepted`);
    else if (act !== null)
      this.#say(`${issue}: ${act.kind === "refused" ? "refused: " : ""}${act.text}`);
    this.#feed.readSoon();
  }

  #rowOf(issue: string): Row | null {
    const lanes = this.#snapshot === null ? [] : lanesOf(this.#snapshot, Date.now());
    const rows = lanes.flatMap((lane) => lane.rows);
    const name = issue.toLowerCase();
    return rows.find((row) => row.issue_identifier.toLowerCase() === name) ?? null;
  }
}
