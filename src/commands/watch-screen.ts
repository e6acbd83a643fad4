import type { StreamEvent } from "../client/events.ts";
import { lanesOf, matches, type Row } from "../web/lanes.ts";
import type { CommandContext } from "./context.ts";
import { exitCodes } from "./failure.ts";
import { showInBrowser } from "./input.ts";
import type { Key } from "./keys.ts";
import { onLostOutput } from "./lost-output.ts";
import type { Paint } from "./output.ts";
import { Screen } from "./screen.ts";
import type { SnapshotView } from "./snapshot.ts";
import { Acts } from "./watch-acts.ts";
import { Feed, type Link } from "./watch-feed.ts";
import { frame } from "./watch-frame.ts";
import { type Choice, firstView, type Order, press, selected, type View } from "./watch-model.ts";
import { OpenIssue } from "./watch-opening.ts";
import { movesOf, placesOf } from "./watch-places.ts";
import type { Scene } from "./watch-rows.ts";

/** Durations are shown in seconds. */
const tickMs = 1_000;
/** Several changes of one moment are one frame. */
const frameMs = 15;

/** The full screen until it is quit: 0, by a signal or Ctrl-C: 130. */
export async function watchScreen(context: CommandContext): Promise<number> {
  const watch = new Watch(context, await context.paint());
  return watch.run();
}

class Watch {
  readonly #context: CommandContext;
  readonly #paint: Paint;
  readonly #ended = Promise.withResolvers<number>();
  readonly #stop = new AbortController();
  readonly #feed: Feed;
  readonly #acts: Acts;
  readonly #screen: Screen;
  #view: View = firstView;
  #snapshot: SnapshotView | null = null;
  #link: Link = { kind: "live", readAt: 0 };
  #open: OpenIssue | null = null;
  #timer: NodeJS.Timeout | null = null;

  constructor(context: CommandContext, paint: Paint) {
    this.#context = context;
    this.#paint = paint;
    this.#acts = new Acts(context, () => this.#soon());
    this.#screen = new Screen(context, {
      key: (key) => this.#guard(() => this.#press(key)),
      redraw: () => this.#soon(),
    });
    const listener = {
      state: (snapshot: SnapshotView) => this.#guard(() => this.#take(snapshot)),
      event: (event: StreamEvent) =>
        this.#guard(() => {
          this.#acts.event(event);
          this.#open?.event(event);
        }),
      link: (link: Link) => {
        this.#link = link;
        this.#soon();
      },
      anew: () => this.#open?.readSoon(),
    };
    this.#feed = new Feed(context, listener, this.#stop.signal);
  }

  async run(): Promise<number> {
    const interrupted = this.#context.interrupted();
    const end = () => {
      this.#ended.resolve(exitCodes.interrupted);
      this.#stop.abort();
    };
    interrupted.addEventListener("abort", end);
    onLostOutput((code) => this.#ended.resolve(code));
    // It may be rejected before it is awaited.
    this.#ended.promise.catch(() => {});
    await this.#feed.open();
    if (interrupted.aborted) return exitCodes.interrupted;
    const tick = setInterval(() => this.#soon(), tickMs);
    try {
      this.#screen.open();
      this.#draw();
      this.#feed.follow().catch(this.#ended.reject);
      return await this.#ended.promise;
    } finally {
      clearInterval(tick);
      this.#stop.abort();
      this.#open?.close();
      if (this.#timer !== null) clearTimeout(this.#timer);
      await this.#screen.close();
    }
  }

  #take(snapshot: SnapshotView): void {
    this.#snapshot = snapshot;
    const rows = this.#lanes(snapshot, "").flatMap((lane) => lane.rows);
    const rowOf = (issue: string) => rows.find((row) => row.issue_identifier === issue) ?? null;
    this.#acts.rows(rowOf);
    this.#soon();
  }

  #lanes(snapshot: SnapshotView, filter = this.#view.filter) {
    const lanes = lanesOf(snapshot, Date.now());
    if (filter.trim() === "") return lanes;
    return lanes.map((lane) => {
      const rows = lane.rows.filter((row) => matches(row, filter));
      return { ...lane, rows, count: rows.length };
    });
  }

  /** An error of any part ends the program with the terminal as it was. */
  #guard(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#ended.reject(error);
    }
  }

  #soon(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      this.#guard(() => this.#draw());
    }, frameMs);
  }

  #draw(): void {
    if (this.#snapshot === null) return;
    const lanes = this.#lanes(this.#snapshot);
    // The cursor stays on its issue, wherever that moves.
    const cursor = selected(this.#view, lanes)?.issue_identifier ?? null;
    if (this.#view.filter === "") this.#view = { ...this.#view, cursor };
    const scene: Scene = {
      view: this.#view,
      snapshot: this.#snapshot,
      lanes,
      link: this.#link,
      opening: this.#open?.data ?? null,
      now: Date.now(),
      actOf: (issue) => this.#acts.of(issue),
    };
    const { rows, maxScroll } = frame(scene, this.#screen.size, this.#paint);
    const { opened } = this.#view;
    if (opened !== null && opened.scroll > maxScroll) {
      this.#view = { ...this.#view, opened: { ...opened, scroll: maxScroll } };
    }
    this.#screen.draw(rows);
  }

  #press(key: Key): void {
    if (this.#snapshot === null) return;
    const snapshot = this.#snapshot;
    const { view, order } = press(
      this.#view,
      key,
      this.#lanes(snapshot),
      this.#lanes(snapshot, ""),
    );
    this.#view = view;
    if (order !== null) this.#obey(order);
    if (view.opened === null && this.#open !== null) {
      this.#open.close();
      this.#open = null;
    }
    this.#soon();
  }

  #obey(order: Order): void {
    switch (order.type) {
      case "quit":
        return this.#ended.resolve(exitCodes.done);
      case "interrupt":
        return this.#ended.resolve(exitCodes.interrupted);
      case "redraw":
        return this.#screen.forget();
      case "forget":
        return this.#acts.forget(order.issue);
      case "look":
        return this.#look(order.issue);
      case "act":
        return void this.#act(order);
      case "moves":
        return void this.#choose("transition", order.issue, () =>
          movesOf(order.issue, this.#context),
        );
      case "places":
        return void this.#choose("open", order.issue, () => placesOf(order.issue, this.#context));
      case "show":
        return void this.#show(order.place);
    }
  }

  #look(issue: string): void {
    if (this.#open?.data.issue !== issue) {
      this.#open?.close();
      this.#open = new OpenIssue(this.#context, issue, () => this.#soon());
    }
    if (this.#view.opened?.tab === "diff") this.#open.showDiff();
  }

  async #act({ issue, deed }: Order & { type: "act" }): Promise<void> {
    const done = await this.#acts.start(issue, deed, this.#rowOf(issue));
    this.#feed.readSoon();
    if (!done || deed.type !== "steer") return;
    const { [issue]: _, ...drafts } = this.#view.drafts;
    this.#view = { ...this.#view, drafts };
  }

  #rowOf(issue: string): Row | null {
    const lanes = this.#snapshot === null ? [] : this.#lanes(this.#snapshot, "");
    const rows = lanes.flatMap((lane) => lane.rows);
    return rows.find((row) => row.issue_identifier === issue) ?? null;
  }

  /** Fills in the choices of the foot, unless it asks something else by now. */
  async #choose(
    kind: "transition" | "open",
    issue: string,
    read: () => Promise<readonly Choice[]>,
  ): Promise<void> {
    const choices = await read().catch((error: unknown) => error as Error);
    const { ask } = this.#view;
    if (ask?.kind !== kind || ask.issue !== issue) return;
    if (choices instanceof Error) this.#view = { ...this.#view, ask: null, note: choices.message };
    else this.#view = { ...this.#view, ask: { ...ask, choices } };
    this.#soon();
  }

  async #show(place: string): Promise<void> {
    const say = (note: string) => {
      this.#view = { ...this.#view, note };
      this.#soon();
    };
    say(place);
    if (/^https?:/.test(place)) {
      await showInBrowser(place, { note: (text) => say(`${text}: ${place}`) });
    }
  }
}
