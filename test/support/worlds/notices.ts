import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { notifyRulesOf, notifySection } from "../../../src/core/config/notify.ts";
import { type Bus, createBus } from "../../../src/core/events/bus.ts";
import { createLogger } from "../../../src/core/events/log.ts";
import type { EventDraft } from "../../../src/core/model/event.ts";
import { Notices } from "../../../src/core/notify/notices.ts";
import { NoticeStore, type Open, type Outcome } from "../../../src/core/notify/store.ts";
import { openHistory } from "../../../src/core/store/history.ts";
import { createRedactor } from "../../../src/core/text/redact.ts";
import { FakeClock } from "../fakes/fake-clock.ts";
import { eventually } from "./symphony.ts";

export interface NoticeOptions {
  /** As in `notify`. */
  readonly rules: readonly object[];
  readonly env?: Readonly<Record<string, string>>;
  readonly titles?: Readonly<Record<string, string>>;
  readonly platform?: NodeJS.Platform;
  readonly base?: string | null;
}

/** Notices over a real series of events in a directory of its own, which may be opened again as after a restart. */
export class NoticeWorld implements AsyncDisposable {
  readonly clock = new FakeClock();
  readonly dir: string;
  readonly logged: string[] = [];
  options: NoticeOptions;
  history: ReturnType<typeof openHistory>;
  bus: Bus;
  notices: Notices;

  private constructor(dir: string, options: NoticeOptions) {
    this.dir = dir;
    this.options = options;
    this.history = openHistory(join(dir, "history.db"));
    this.bus = this.#bus();
    this.notices = this.#notices();
  }

  static async open(options: NoticeOptions): Promise<NoticeWorld> {
    const dir = await mkdtemp(join(tmpdir(), "symphony-notices-"));
    return new NoticeWorld(dir, options);
  }

  #bus(): Bus {
    return createBus({
      history: this.history,
      clock: this.clock,
      redact: (text) => text,
      onError: assert.ifError,
    });
  }

  #notices(): Notices {
    const env = () => ({ PATH: process.env["PATH"], ...this.options.env });
    const redactor = createRedactor();
    return new Notices({
      clock: this.clock,
      log: createLogger({
        level: "debug",
        format: "json",
        sinks: [{ name: "test", write: (line: string) => void this.logged.push(line) }],
        clock: this.clock,
        redact: (text) => redactor.redact(text),
      }),
      bus: this.bus,
      dataDir: this.dir,
      env: env(),
      workflowPath: join(this.dir, "WORKFLOW.md"),
      redactor,
      lookup: (name) => this.options.env?.[name],
      platform: this.options.platform ?? "linux",
      runId: `notify-${process.pid}`,
      base: () => this.options.base ?? null,
      secretNames: () => Object.keys(this.options.env ?? {}).filter((name) => name !== "PATH"),
      rules: () => notifyRulesOf(notifySection.parse(this.options.rules)),
      titleOf: (id) => this.options.titles?.[id] ?? `Title of ${id}`,
    });
  }

  publish(...drafts: readonly EventDraft[]): void {
    for (const draft of drafts) this.bus.publish(draft);
  }

  /** Waits until a rule has so many occasions that are not reported. */
  async waiting(rule: string, count: number): Promise<void> {
    await eventually(`${count} wait for ${rule}`, async () => {
      const found = this.notices.list().find((one) => one.rule.name === rule);
      return found?.waiting === count;
    });
  }

  /** Waits for the outcome of the message that is being sent. */
  async outcome(rule: string, outcome: string): Promise<Outcome> {
    return eventually(`${rule}: ${outcome}`, async () => {
      const { last = null } = this.notices.list().find((one) => one.rule.name === rule) ?? {};
      return last?.outcome === outcome ? last : null;
    });
  }

  /** Waits until a try has failed and the next one is planned. */
  async planned(rule: string, tries: number): Promise<Open> {
    return eventually(`the retry of ${rule} is planned`, async () => {
      const store = new NoticeStore(this.dir);
      try {
        const open = store.open(rule);
        return open !== null && !open.isBegun && open.tries === tries ? open : null;
      } finally {
        store.close();
      }
    });
  }

  /** As a server that stops and starts again. */
  async restart(): Promise<void> {
    await this.notices.close();
    this.reopen();
    this.notices.follow();
  }

  /** A new server over the same files; the previous one is left as a kill leaves it. */
  reopen(): void {
    this.bus.close();
    this.history.close();
    this.history = openHistory(join(this.dir, "history.db"));
    this.bus = this.#bus();
    this.notices = this.#notices();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.notices.close();
    this.bus.close();
    this.history.close();
    await rm(this.dir, { recursive: true, force: true });
  }
}

/** The event of an issue that failed. */
export function failedEvent(name: string, error = "worker exited: turn timed out"): EventDraft {
  return {
    type: "issue.failed",
    issueId: `id-${name}`,
    issueIdentifier: name,
    message: `3 failures in a row: ${error}`,
    data: { error, failures: 3 },
  };
}
