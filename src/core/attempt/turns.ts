import type { AgentEvent, AgentSession, AgentTools, TurnOptions } from "../agent/agent.ts";
import type { Config } from "../config/config.ts";
import type { Phase } from "../model/attempt.ts";
import type { Issue } from "../model/issue.ts";
import { standingOf } from "../orchestrator/dispatch.ts";
import type { AttemptOrder, EnteredWorkspace, Made, Turned } from "../orchestrator/messages.ts";
import {
  continuationPrompt,
  type Feedback,
  feedbackPrompt,
  leftOutPrompt,
  steerPrompt,
} from "../prompt/prompt.ts";
import type { Steer } from "../store/store.ts";
import type { Tracker } from "../tracker/tracker.ts";
import { readLeftOut } from "../workspace/baseline.ts";
import {
  type EarlierContents,
  isSameContent,
  type WorkspaceMark,
  workspaceMark,
} from "../workspace/mark.ts";
import type { Workspace } from "../workspace/workspaces.ts";
import type { Pictures } from "./pictures.ts";
import type { ShownToThread } from "./shown-images.ts";

/** What turns need of the server; the tracker is that of the attempt's start (T-14). */
export interface TurnDeps {
  readonly tracker: Tracker;
  config(): Config;
  /** Model and reasoning effort for the next turn of this issue; null leaves one to the agent. */
  choice(issueId: string): TurnOptions;
  /** Guidance that no agent has received yet, oldest first. */
  undelivered(issueId: string): readonly Steer[];
  /** What came back about offered work and this attempt has not read, oldest first. */
  feedback(issueId: string, attemptId: string): readonly Feedback[];
  /** A turn has begun with it. */
  given(issueId: string, feedback: readonly Feedback[], attemptId: string): void;
  /**
   * Commits what a turn left and decides whether it can be offered; null: the agent continues until
   * it moves its issue itself. Rejects when the work cannot be read.
   */
  made(turn: EndedTurn): Promise<Made | Unready | null>;
  /** Removes secrets from what an agent's tools write. */
  redact(text: string): string;
  /** False while no further turn may begin: the day's tokens are used up. */
  mayContinue(): boolean;
}

/** A turn that ended well. */
export interface EndedTurn {
  readonly workspace: Workspace;
  readonly issue: Issue;
  readonly attemptId: string;
  /** It changed the workspace or wrote to the tracker. */
  readonly moved: boolean;
  readonly signal: AbortSignal;
  tell(line: string): void;
}

/** The work cannot be offered yet: the next turn begins with `prompt`. */
export interface Unready {
  readonly kind: "unready";
  readonly prompt: string;
  /** For a person, if the agent does not mend it. */
  readonly reason: string;
}

/** Another turn would only do the same again. */
const notMoved =
  "done, and waits for a person: its program has not moved the issue, and tracker.on_success says nothing";

/** Turns that may be spent on work that cannot be offered yet. */
const maxUnready = 3;

/** One running attempt, as its caller sees it. */
export interface LiveAttempt {
  readonly signal: AbortSignal;
  /** True once no further turn may begin. */
  leaving(): boolean;
  /** A turn has ended, and its work is committed and checked; false: the next one begins. */
  making(isMaking: boolean): void;
  /** True once the agent continues without this server. */
  detached(): boolean;
  entered(phase: Phase, workspace: EnteredWorkspace | null): void;
  reported(event: AgentEvent): void;
  /** A turn completed, with these results. */
  turned(what: Turned): void;
  /** The live session, for steering, and what gives it images; null once it has ended. */
  session(live: { readonly session: AgentSession; readonly pictures: Pictures } | null): void;
  /** The images that a thread has. */
  shownTo(threadId: string): ShownToThread;
  /** What the workspace held after the turns of any attempt. */
  earlierIn(workspace: Workspace): EarlierContents;
}

/** Runs turn after turn on one thread, as long as the tracker allows it. */
export async function turns(
  session: AgentSession,
  order: AttemptOrder,
  way: {
    readonly deps: TurnDeps;
    readonly live: LiveAttempt;
    readonly workspace: Workspace;
    readonly prompt: string;
    readonly pictures: Pictures;
    /** Texts of the issue that the first turn shows. */
    readonly texts: readonly string[];
    /** True if the first turn was begun by a previous server. */
    readonly followed: boolean;
    readonly turn: number;
    readonly opening: Opening;
    readonly progress: Progress;
  },
): Promise<{ readonly made: Made | null; readonly issue: Issue | null }> {
  const { opening, progress, deps, live, followed, workspace, pictures } = way;
  let { issue } = order;
  let unready = 0;
  let { texts } = way;
  let prompt = followed ? "" : opening.with(way.prompt);
  for (let turn = way.turn; ; turn++) {
    if (prompt !== "") {
      live.entered("streaming_turn", null);
      live.making(false);
      await progress.begin();
      const { images, note, given } = await pictures.of({ issue: texts, news: opening.texts });
      opening.pictured(given);
      const parts = [prompt, leftOutPrompt(await readLeftOut(workspace.path)), note];
      await session.turn(parts.filter((part) => part !== "").join("\n\n"), {
        ...deps.choice(issue.id),
        ...(images.length > 0 && { images }),
      });
      given();
      texts = [];
    }
    live.signal.throwIfAborted();
    live.making(true);
    const moved = await progress.moved();
    const { attemptId } = order;
    const { signal } = live;
    const tell = (message: string) => live.reported({ type: "notice", message, malformed: false });
    const made = await deps.made({ workspace, issue, attemptId, moved, signal, tell });
    if (live.leaving()) return { made: offerable(made), issue: null };
    const [fresh] = await deps.tracker.fetchIssuesByIds([issue.id]);
    live.turned({ moved, issue: fresh ?? null });
    // Reporting the turn may have stopped the attempt: it may have reached a limit.
    live.signal.throwIfAborted();
    const end = { made: offerable(made), issue: fresh ?? null };
    if (!deps.mayContinue()) return end;
    const { agent, tracker } = deps.config();
    const isActive = fresh && standingOf(fresh, tracker) === "routable";
    if (made === null && isActive && !opening.isWaiting()) {
      if (session.isPlain && !progress.hasCalled) {
        return { ...end, made: { kind: "refused", reason: notMoved, next: "look" } };
      }
      if (session.repeats && !progress.hasChanged && !progress.hasTriedToWrite) {
        return { ...end, made: { kind: "unchanged" } };
      }
    }
    if (!fresh || turn >= agent.maxTurns) return end;
    issue = fresh;
    if (made?.kind === "unready" && unready < maxUnready) {
      unready += 1;
      prompt = opening.with(made.prompt);
    } else if (made !== null) {
      // Guidance and feedback that came during the turn open the next one.
      if (!opening.isWaiting() || made.kind === "refused") return end;
      prompt = opening.with("");
    } else {
      if (!isActive) return end;
      prompt = opening.with(continuationPrompt(turn + 1, agent.maxTurns, issue));
    }
  }
}

/** Work that is not ready when the attempt ends is not offered. */
function offerable(made: Made | Unready | null): Made | null {
  if (made?.kind !== "unready") return made;
  return { kind: "refused", reason: made.reason, next: "deliver" };
}

/**
 * Guidance that a turn ended without taking up, and feedback on offered work, open the next turn, so
 * none is lost; they count as delivered when that turn has started.
 */
export class Opening {
  readonly #order: AttemptOrder;
  readonly #deps: TurnDeps;
  readonly #live: LiveAttempt;
  #steers: readonly Steer[] = [];
  #feedback: readonly Feedback[] = [];
  #given = () => {};
  /** What the prompt of `with` tells that the thread has not read. */
  texts: readonly string[] = [];

  constructor(order: AttemptOrder, deps: TurnDeps, live: LiveAttempt) {
    this.#order = order;
    this.#deps = deps;
    this.#live = live;
  }

  /** True if the next turn has something new to read. */
  isWaiting(): boolean {
    const { attemptId, issue } = this.#order;
    const { id } = issue;
    const feedback = this.#deps.feedback(id, attemptId);
    return feedback.length > 0 || this.#deps.undelivered(id).length > 0;
  }

  with(prompt: string): string {
    const { id } = this.#order.issue;
    this.#steers = this.#deps.undelivered(id);
    this.#feedback = this.#deps.feedback(id, this.#order.attemptId);
    this.texts = [
      ...this.#steers.map(({ message }) => message),
      ...this.#feedback.map(({ text }) => text),
    ];
    const parts = [
      this.#steers.length === 0 ? "" : steerPrompt(this.#steers.map(({ message }) => message)),
      this.#feedback.length === 0 ? "" : feedbackPrompt(this.#feedback),
      prompt,
    ];
    return parts.filter((part) => part !== "").join("\n\n");
  }

  /** `given` is called at the first answer to the next turn: from then on the thread has its message, whatever ends the turn. */
  pictured(given: () => void): void {
    this.#given = given;
  }

  received(event: AgentEvent): void {
    this.#live.reported(event);
    if (answers.has(event.type)) {
      this.#given();
      this.#given = () => {};
    }
    if (event.type !== "turn.started") return;
    for (const { id } of this.#steers) {
      this.#live.reported({ type: "steer.delivered", steerId: id });
    }
    const { issue, attemptId } = this.#order;
    if (this.#feedback.length > 0) this.#deps.given(issue.id, this.#feedback, attemptId);
    this.#steers = [];
    this.#feedback = [];
  }
}

/** What an agent does only when its model has answered. */
const answers: ReadonlySet<AgentEvent["type"]> = new Set([
  "message",
  "command",
  "file_change",
  "tool_call",
]);

/** Finds out whether a turn changed the workspace or wrote to the tracker. */
export class Progress {
  readonly #path: string;
  #wrote = false;
  #changed = false;
  #called = false;
  #tried = false;
  readonly #earlier: EarlierContents;
  #mark: WorkspaceMark | null = null;

  constructor(path: string, earlier: EarlierContents) {
    this.#path = path;
    this.#earlier = earlier;
  }

  /** Wraps `tools` so that successful writes count as progress. */
  watching(tools: AgentTools): AgentTools {
    return {
      ...tools,
      call: async (name, args) => {
        this.#called = true;
        const writes = tools.writes?.(name, args) !== false;
        this.#tried ||= writes;
        const result = await tools.call(name, args);
        if (result.success && writes) this.#wrote = true;
        return result;
      },
    };
  }

  /** A tool of the tracker was called in any turn. */
  get hasCalled(): boolean {
    return this.#called;
  }

  /** The same of a tool that writes, also where it failed. */
  get hasTriedToWrite(): boolean {
    return this.#tried;
  }

  /** The last turn changed something, be it back to what was there before. */
  get hasChanged(): boolean {
    return this.#changed;
  }

  /** Call right before a turn. Earlier changes, such as those of hooks, do not count. */
  async begin(): Promise<void> {
    this.#wrote = false;
    this.#mark ??= await workspaceMark(this.#path);
  }

  /** Call right after a turn: true if it made progress. To undo what an earlier turn did is none. */
  async moved(): Promise<boolean> {
    const before = this.#mark;
    const mark = await workspaceMark(this.#path, before);
    const isSame = before !== null && isSameContent(mark, before);
    const isBack = before !== null && !isSame && (await this.#earlier.has(mark, before));
    const moved = this.#wrote || !(isSame || isBack);
    this.#changed = this.#wrote || !isSame;
    this.#mark = mark;
    this.#wrote = false;
    return moved;
  }
}
