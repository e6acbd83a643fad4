// Issues in the data directory, for projects without a tracker of their own.

import { existsSync, statSync } from "node:fs";
import type { AgentTools } from "../../agent/agent.ts";
import type { Clock } from "../../clock.ts";
import type { TrackerConfig } from "../../config/config.ts";
import { messageOf, SymphonyError } from "../../model/errors.ts";
import {
  type CommentList,
  type Issue,
  type IssueName,
  normalState,
  type TrackerState,
} from "../../model/issue.ts";
import type {
  FoundIssue,
  ScopeNames,
  TimedComment,
  Tracker,
  TrackerLink,
  TrackerWorkflow,
} from "../tracker.ts";
import { issuesFile, type LocalIssues, openLocalIssues } from "./issues.ts";
import { type LocalOptions, localOptions, requireState } from "./settings.ts";
import { localTools } from "./tools.ts";

const watchIntervalMs = 500;
/** The scheduler reads two sets of states; more come only with edits of the configuration. */
const maxKeptLists = 8;
const noIssues: readonly Issue[] = [];

interface LocalTrackerOptions {
  readonly config: TrackerConfig;
  readonly dataDir: string;
  readonly clock: Clock;
}

/**
 * The local tracker (docs/trackers/local.md). Throws `invalid_tracker_config`. The store is opened at the first read; if it
 * is damaged, gone or replaced during a run, reads reject with `tracker_response` and never return an empty list.
 */
export function createLocalTracker(options: LocalTrackerOptions): Tracker {
  return new LocalTracker(options, localOptions(options.config));
}

interface OpenStore {
  readonly issues: LocalIssues;
  readonly inode: number;
}

class LocalTracker implements Tracker {
  readonly kind = "local";
  readonly secretEnvNames: readonly string[] = [];
  readonly workflow: TrackerWorkflow;
  readonly #options: LocalOptions;
  readonly #dataDir: string;
  readonly #clock: Clock;
  readonly #watchers = new Set<() => void>();
  #store: OpenStore | null = null;
  #lists = new Map<string, readonly Issue[]>();
  #listsVersion = -1;

  constructor({ dataDir, clock }: LocalTrackerOptions, options: LocalOptions) {
    this.#options = options;
    this.#dataDir = dataDir;
    this.#clock = clock;
    this.workflow = {
      states: async (): Promise<readonly TrackerState[]> => options.states,
      move: async (issue, state) => this.#move(issue, state),
      link: async (issue, link) => this.#link(issue, link),
      comment: async ({ identifier }, comment) =>
        this.#read((issues) => issues.writeOwn(identifier, comment)),
    };
  }

  async fetchIssuesByStates(states: readonly string[]): Promise<readonly Issue[]> {
    const names = states.filter((state) => typeof state === "string").map(normalState);
    if (names.length === 0 || this.#isUnborn()) return noIssues;
    return this.#read((issues) => this.#listed(issues, names));
  }

  async fetchIssuesByIds(ids: readonly string[]): Promise<readonly Issue[]> {
    if (ids.length === 0 || this.#isUnborn()) return noIssues;
    return this.#read((issues) => issues.byIds(ids));
  }

  async comments({ identifier }: IssueName): Promise<CommentList> {
    return this.#read((issues) => issues.comments(identifier));
  }

  async newComments(issue: IssueName): Promise<readonly TimedComment[]> {
    return this.#read((issues) => issues.newComments(issue));
  }

  async find(identifier: string): Promise<FoundIssue | null> {
    if (this.#isUnborn()) return null;
    const issue = this.#read((issues) => issues.get(identifier));
    return issue && { issue, scope: [] };
  }

  async scopeNames(): Promise<ScopeNames> {
    return { teams: new Map([[null, this.#options.states.map(({ name }) => name)]]), labels: null };
  }

  bindTools(issue: Issue): AgentTools {
    const open = () => openLocalIssues(this.#dataDir, this.#options, this.#clock);
    return localTools({ issue, options: this.#options, open });
  }

  watch(onChange: () => void): () => void {
    let known = this.#versionOrNull();
    let cancel = this.#clock.after(watchIntervalMs, check);
    const tracker = this;
    function check() {
      cancel = tracker.#clock.after(watchIntervalMs, check);
      const version = tracker.#versionOrNull();
      if (version === null || version === known) return;
      known = version;
      if (version !== tracker.#listsVersion) onChange();
    }
    const stop = () => {
      cancel();
      this.#watchers.delete(stop);
    };
    this.#watchers.add(stop);
    return stop;
  }

  close(): void {
    for (const stop of [...this.#watchers]) stop();
    // Closing would remove the journal of a file that has replaced this one under the same name.
    if (this.#store && this.#isInPlace(this.#store)) this.#store.issues.close();
  }

  #listed(issues: LocalIssues, names: readonly string[]): readonly Issue[] {
    // Before the rows: a write in between is then read again next time, never missed.
    const version = issues.version();
    if (version !== this.#listsVersion || this.#lists.size >= maxKeptLists) this.#lists.clear();
    this.#listsVersion = version;
    const key = JSON.stringify([...names].sort());
    const known = this.#lists.get(key);
    if (known) return known;
    const list = issues.list(names);
    this.#lists.set(key, list);
    return list;
  }

  #move(issue: Issue, name: string): void {
    const state = requireState(this.#options.states, issue, name);
    this.#read((issues) => issues.edit(issue.identifier, { state: state.name }));
  }

  /** A comment with the address; one that is there is not written again. */
  #link({ identifier }: Issue, { url, title }: TrackerLink): void {
    this.#read((issues) => {
      if (issues.hasComment(identifier, url)) return;
      issues.comment(identifier, { author: "symphony", body: `Ready for review: ${title} ${url}` });
    });
  }

  #versionOrNull(): number | null {
    try {
      return this.#isUnborn() ? null : this.#read((issues) => issues.version());
    } catch {
      // The next poll gets the same error and reports it.
      return null;
    }
  }

  #read<T>(work: (issues: LocalIssues) => T): T {
    try {
      return work(this.#current());
    } catch (error) {
      if (!(error instanceof SymphonyError)) throw error;
      if (error.code !== "storage_corrupt" && error.code !== "storage_unavailable") throw error;
      throw new SymphonyError("tracker_response", messageOf(error), {
        cause: error,
        details: { category: error.code, ...error.details },
        ...(error.hint === null ? {} : { hint: error.hint }),
      });
    }
  }

  /** The open store, as long as the file under its name is still the same one. */
  #current(): LocalIssues {
    const file = issuesFile(this.#dataDir);
    if (this.#store === null) {
      const issues = openLocalIssues(this.#dataDir, this.#options, this.#clock);
      this.#store = { issues, inode: statSync(file).ino };
    }
    if (this.#isInPlace(this.#store)) return this.#store.issues;
    const message = `Cannot use ${file}: it was removed, replaced or emptied while in use`;
    throw new SymphonyError("storage_corrupt", message, {
      details: { file },
      hint: "Stop symphony, restore the right file, start it again",
    });
  }

  /** No issue was ever created: there is nothing to read, and a read must not create the file. */
  #isUnborn(): boolean {
    if (this.#store) return false;
    const file = issuesFile(this.#dataDir);
    return !existsSync(file) && !existsSync(`${file}-wal`);
  }

  #isInPlace({ inode }: OpenStore): boolean {
    const found = statSync(issuesFile(this.#dataDir), { throwIfNoEntry: false });
    return found !== undefined && found.ino === inode && found.size > 0;
  }
}
