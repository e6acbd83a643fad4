import type { Clock } from "../../clock.ts";
import { SymphonyError } from "../../model/errors.ts";
import { type Issue, normalState } from "../../model/issue.ts";
import type { BlockerRules } from "../blockers.ts";
import { field, instantOf } from "../normalize.ts";
import type { FoundIssue } from "../tracker.ts";
import { belongingOf } from "./belonging.ts";
import { fullPassSpacingMs, type PassCost } from "./budget.ts";
import type { LinearClient } from "./client.ts";
import { Listing } from "./listing.ts";
import { type LinearRow, type LinearRules, rowOf } from "./normalize.ts";
import { type IssuesQuery, idOf, readFiltered, readPages } from "./pages.ts";
import {
  documents,
  findAnswer,
  isNotFound,
  membersAnswer,
  newestAnswer,
  pageSize,
  shaped,
} from "./queries.ts";
import { filterOfScope, noRecord, type Scope, type ScopeView } from "./scope.ts";
import { type LinearFilter, uuid } from "./settings.ts";

export interface ReaderOptions {
  readonly client: LinearClient;
  readonly scope: Scope;
  readonly clock: Clock;
  readonly blockers: BlockerRules;
  /** Longest time between two full passes, as far as the rate budget allows. */
  readonly fullPassMs: number;
  /** Called with the number of malformed records that a read by states left out. */
  readonly onMalformed: (count: number) => void;
}

/** A listing and the time up to which it is current. */
interface Polled {
  readonly listing: Listing;
  readonly states: readonly string[];
  fullAt: number;
  usedAt: number;
  /** Pages of the last full pass; 0 before the first. */
  pages: number;
  cost: PassCost;
  watermark: Watermark | null;
  /** Settles when the reads requested so far are done. */
  turn: Promise<unknown>;
}

/** Newest `updatedAt` seen: by Linear's clock, ms since the epoch. */
interface Watermark {
  readonly at: number;
  readonly learnedAt: number;
  /** True once no older change can still appear. */
  readonly settled: boolean;
}

/** How long after its timestamp Linear may still publish a change. */
const overlapMs = 10_000;
/** A delta longer than this many full passes' pages costs more than the pass. */
const leastDeltaPages = 4;

/** The two reads of the tracker, with a cache of the results. */
export class IssueReader {
  readonly #options: ReaderOptions;
  readonly #polled = new Map<string, Polled>();
  /** Why an issue is outside of the scope, newest last. */
  readonly #gone = new Map<string, string>();

  constructor(options: ReaderOptions) {
    this.#options = options;
  }

  /** Reads of the same states run one after the other, so that no result is older than its request. */
  byStates(states: readonly string[]): Promise<readonly Issue[]> {
    const wanted = new Map(states.map((name) => [normalState(name), name.trim()]));
    wanted.delete("");
    if (wanted.size === 0) return Promise.resolve(nothing);
    const polled = this.#polledFor(wanted);
    const answer = polled.turn.then(() => this.#poll(polled));
    polled.turn = answer.catch(() => {});
    return answer;
  }

  /** Reads issues outside of the scope too, and leaves them out: `whyGone` then says why. */
  async byIds(ids: readonly string[]): Promise<readonly Issue[]> {
    // Linear refuses a whole query for one id that is not a UUID, and none of its issues has such an id.
    const wanted = [...new Set(ids)].filter((id) => uuid.test(id));
    if (wanted.length === 0) return nothing;
    const { rules, view } = await this.#context();
    const found = new Map<string, LinearRow>();
    for (let from = 0; from < wanted.length; from += pageSize) {
      const batch = wanted.slice(from, from + pageSize);
      const filter = { id: { in: batch } };
      const query: IssuesQuery = {
        ...{ operation: "SymphonyIssuesById", filter, first: batch.length },
        variables: membersWanted(filter, view),
      };
      for await (const { nodes, data } of readPages(this.#options.client, query)) {
        const members = membersIn(data, view);
        for (const node of nodes) {
          if (node === null) throw malformed();
          const row = rowOf(node, rules);
          const left = belongingOf(node, view, members(idOf(node))).find(({ pass }) => !pass);
          if (left) this.#leave(String(idOf(node)), left.left);
          // To omit it would mean that the issue is gone, and would stop its run.
          else if (row === null) throw malformed();
          else found.set(row.issue.id, row);
        }
      }
    }
    const gone = wanted.filter((id) => !found.has(id));
    for (const id of found.keys()) this.#gone.delete(id);
    for (const { listing, pages } of this.#polled.values()) {
      if (pages > 0) listing.merge([...found.values()], gone, rules);
    }
    return wanted.flatMap((id) => found.get(id)?.issue ?? []);
  }

  /** Why the last read by id left this issue out; null: not known. */
  whyGone(id: string): string | null {
    return this.#gone.get(id) ?? null;
  }

  /** One issue by its identifier, or an earlier one, in the scope or not; null: Linear has none. */
  async find(identifier: string): Promise<FoundIssue | null> {
    const wanted = identifier.trim();
    const [, key, number] = identifierForm.exec(wanted) ?? [];
    if (key === undefined) return null;
    const { rules, view } = await this.#context();
    const filter = { team: { key: { eq: key.toUpperCase() } }, number: { eq: Number(number) } };
    const first = await this.#findOnce(wanted.toUpperCase(), filter, view);
    if (first === null) return null;
    // Under an earlier identifier the filters have looked for another issue.
    const isMoved = field(first.issue, "identifier") !== wanted.toUpperCase();
    const again = isMoved && (view.filter !== null || view.view !== null);
    const id = String(idOf(first.issue));
    const byId = { id: { in: [id] } };
    const answer = again ? ((await this.#findOnce(id, byId, view)) ?? first) : first;
    const row = rowOf(answer.issue, rules);
    if (row === null) throw malformed();
    const members = membersIn(answer, view);
    const scope = belongingOf(answer.issue, view, members(id));
    return { issue: row.issue, scope: scope.map(({ left: _, ...line }) => line) };
  }

  async #findOnce(id: string, filter: LinearFilter, view: ScopeView) {
    const operation = "SymphonyFind";
    const variables = { id, ...membersWanted(filter, view) };
    const document = documents[operation];
    try {
      const { data } = await this.#options.client.readOnce({ operation, document, variables });
      return shaped(findAnswer, operation, data);
    } catch (error) {
      if (isNotFound(error)) return null;
      throw error;
    }
  }

  #leave(id: string, why: string): void {
    this.#gone.delete(id);
    this.#gone.set(id, why);
    const [oldest] = this.#gone.keys();
    if (oldest !== undefined && this.#gone.size > mostGone) this.#gone.delete(oldest);
  }

  #polledFor(wanted: ReadonlyMap<string, string>): Polled {
    const key = JSON.stringify([...wanted.keys()].sort());
    const now = this.#options.clock.now();
    for (const [other, { usedAt }] of this.#polled) {
      // It would need a full pass anyway, so it is not worth its memory.
      if (other !== key && now - usedAt > this.#options.fullPassMs) this.#polled.delete(other);
    }
    const polled = this.#polled.get(key) ?? fresh([...wanted.values()], now);
    polled.usedAt = now;
    this.#polled.set(key, polled);
    return polled;
  }

  async #poll(polled: Polled): Promise<readonly Issue[]> {
    const delta = this.#deltaIsEnough(polled) && (await this.#readChanges(polled));
    if (!delta) await this.#readAll(polled);
    return polled.listing.issues;
  }

  /** A listing of one page costs one request either way, and a full pass returns more. */
  #deltaIsEnough({ pages, watermark, fullAt, cost }: Polled): boolean {
    const { client, clock, fullPassMs } = this.#options;
    if (pages <= 1 || watermark === null) return false;
    const spacingMs = Math.max(fullPassMs, fullPassSpacingMs(cost, client.budget));
    return clock.now() - fullAt < spacingMs;
  }

  async #readAll(polled: Polled): Promise<void> {
    const { client, clock, scope } = this.#options;
    const startedAt = clock.now();
    const names = await scope.stateNames(polled.states);
    const { rules, scope: within } = await this.#context();
    const query: IssuesQuery = {
      operation: "SymphonyCandidates",
      filter: { ...within, state: { name: { in: names } } },
    };
    const rows: LinearRow[] = [];
    const cost = { requests: 0, complexity: 0 };
    let [pages, dropped] = [0, 0];
    // Read first: an issue that changes while pages are read moves to the front, to a page that was read already.
    const watermark = polled.pages === 1 ? null : await this.#newestChange(within);
    for await (const page of readPages(client, query)) {
      const read = this.#rowsOf(page.nodes, rules, polled.listing);
      rows.push(...read.rows);
      dropped += read.malformedIds.length;
      cost.requests += page.requests;
      cost.complexity += page.complexity;
      pages += 1;
    }
    polled.listing.replace(rows);
    Object.assign(polled, { fullAt: startedAt, pages, cost, watermark });
    if (dropped > 0) this.#options.onMalformed(dropped);
    if (pages > 1) await this.#readChanges(polled);
  }

  /** Where deltas begin. For every state, because a delta from the last change in a quiet state would be long. */
  async #newestChange(filter: LinearFilter): Promise<Watermark | null> {
    const { client, clock } = this.#options;
    const operation = "SymphonyNewest";
    const document = documents[operation];
    const learnedAt = clock.now();
    const request = { operation, document, variables: { filter } } as const;
    const { data } = await readFiltered(client, request, filter);
    const at = instantOf(shaped(newestAnswer, operation, data).issues.nodes[0]?.updatedAt);
    return at === null ? null : { at, learnedAt, settled: false };
  }

  /** Merges the changes since the watermark; false when there are so many that a full pass is cheaper. */
  async #readChanges(polled: Polled): Promise<boolean> {
    const { client, clock } = this.#options;
    const { watermark } = polled;
    if (watermark === null) return false;
    const startedAt = clock.now();
    const { rules, scope } = await this.#context();
    const since = new Date(watermark.settled ? watermark.at : watermark.at - overlapMs);
    const filter = { ...scope, updatedAt: { gt: since.toISOString() } };
    const rows: LinearRow[] = [];
    const malformedIds: string[] = [];
    let pages = 0;
    for await (const page of readPages(client, { operation: "SymphonyChanges", filter })) {
      if (++pages > Math.max(polled.pages, leastDeltaPages)) return false;
      const read = this.#rowsOf(page.nodes, rules, polled.listing);
      rows.push(...read.rows);
      malformedIds.push(...read.malformedIds);
    }
    polled.listing.merge(rows, malformedIds, rules);
    polled.watermark = advanced(watermark, rows, startedAt);
    if (malformedIds.length > 0) this.#options.onMalformed(malformedIds.length);
    return true;
  }

  #rowsOf(nodes: readonly unknown[], rules: LinearRules, listing: Listing) {
    const rows: LinearRow[] = [];
    const malformedIds: string[] = [];
    for (const node of nodes) {
      const row = rowOf(node, rules);
      if (row !== null) rows.push(listing.settle(row));
      else malformedIds.push(String(idOf(node) ?? ""));
    }
    return { rows, malformedIds };
  }

  async #context(): Promise<{ rules: LinearRules; scope: LinearFilter; view: ScopeView }> {
    const view = await this.#options.scope.view();
    const { assignee } = view;
    return { rules: { assignee, ...this.#options.blockers }, scope: filterOfScope(view), view };
  }
}

const nothing: readonly Issue[] = [];
const mostGone = 1_000;
/** `ENG-12`; any other text is no identifier of Linear, and costs no request. */
const identifierForm = /^([A-Za-z][A-Za-z0-9]{0,9})-(\d{1,9})$/;

/** Which of the issues that `filter` names are within the filter and the view of the scope; no issue where one is not set. */
function membersWanted(filter: LinearFilter, { filter: own, view }: ScopeView) {
  return {
    filtered: own === null ? noRecord : { and: [filter, own] },
    viewed: view === null ? noRecord : { and: [filter, view.filter] },
  };
}

function membersIn(data: unknown, { filter, view }: ScopeView) {
  if (filter === null && view === null) return () => ({ filtered: null, viewed: null });
  const { filtered, viewed } = shaped(membersAnswer, "SymphonyIssuesById", data);
  const fits = (nodes: readonly { id: string }[], id: unknown) =>
    nodes.some((one) => one.id === id);
  return (id: unknown) => ({
    filtered: filter === null ? null : fits(filtered.nodes, id),
    viewed: view === null ? null : fits(viewed.nodes, id),
  });
}

function fresh(states: readonly string[], now: number): Polled {
  return {
    listing: new Listing(states),
    states,
    fullAt: now,
    usedAt: now,
    pages: 0,
    cost: { requests: 0, complexity: 0 },
    watermark: null,
    turn: Promise.resolve(),
  };
}

/** The watermark after a read that began at `startedAt`. */
function advanced(before: Watermark, rows: readonly LinearRow[], startedAt: number): Watermark {
  const newest = rows.reduce((at, row) => Math.max(at, row.issue.updatedAt ?? 0), before.at);
  if (newest > before.at) return { at: newest, learnedAt: startedAt, settled: false };
  return { ...before, settled: before.settled || startedAt - before.learnedAt > overlapMs };
}

function malformed(): SymphonyError {
  const message = "Linear described an issue without an id, identifier, title or state";
  return new SymphonyError("tracker_response", message);
}
