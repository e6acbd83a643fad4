import { isDeepStrictEqual } from "node:util";
import { z } from "zod";
import type { GithubClient } from "../../github/client.ts";
import { type ErrorCode, SymphonyError } from "../../model/errors.ts";
import { ForgeError } from "../../model/forge-error.ts";
import { normalState } from "../../model/issue.ts";
import {
  added,
  addItem,
  boardAnswer,
  boardQuery,
  cardsAnswer,
  cardsQuery,
  issueAnswer,
  issueQuery,
  type item,
  type project,
  setField,
} from "./board-queries.ts";
import { trackerError } from "./errors.ts";
import type { BoardSettings } from "./settings.ts";

/** An issue on the board. The same object until something of it changes. */
export interface Card {
  readonly itemId: string;
  /** The option of its status as the project spells it; null: it has none. */
  readonly status: string | null;
  /** Of the field for priorities: an option, or a number; null: none. */
  readonly priority: string | number | null;
  readonly estimate: string | number | null;
  readonly isArchived: boolean;
}

export interface Option {
  readonly id: string;
  readonly name: string;
}

/** A field whose values are options. */
export interface ChoiceField {
  readonly id: string;
  readonly options: readonly Option[];
}

/** A project as it was read last. */
export interface BoardFacts {
  readonly id: string;
  readonly title: string;
  readonly status: ChoiceField;
  /** null: the project has no such field, or it is one of numbers. */
  readonly priority: ChoiceField | null;
}

const idsPerQuery = 100;
/** GitHub's limit of items is 50,000 ("About projects"). */
const maxPages = 600;

export interface BoardDeps {
  readonly settings: BoardSettings;
  readonly client: GithubClient;
  /** For a read that may be a little old; ms. */
  readonly now: () => number;
}

const factsKeptMs = 60_000;
/** What an item may hide. Not its status: without it the issue would seem to have moved. */
const mayBeNull = ["content", "project", "projectItems", "priority", "estimate"];

/** Items of a project that are no issues that can be seen. */
export type OtherItem = "draft" | "pull request" | "item that the token may not see";
const noOthers = { draft: 0, "pull request": 0, "item that the token may not see": 0 };

function otherItem(type: string | undefined): OtherItem {
  if (type === "DRAFT_ISSUE") return "draft";
  return type === "PULL_REQUEST" ? "pull request" : "item that the token may not see";
}

/**
 * A project of GitHub (Projects v2). A moved card does not change its issue's `updated_at`, and the items cannot be filtered,
 * so that every read is of all pages. Drafts and pull requests on it are left out, and so are issues that the credential may
 * not see: `others` counts them. Rejects with ForgeErrors, and with a tracker's error where the project itself cannot be reached.
 */
export class Board {
  readonly #deps: BoardDeps;
  /** By the node id of the issue. */
  #cards = new Map<string, Card>();
  #facts: BoardFacts | null = null;
  #factsAt = 0;
  /** Grows when a card changes. */
  version = 0;
  /** Points of GraphQL that were spent, as the answers say. */
  points = 0;
  /** The repositories of its issues, as `acme/app`, with the number of their issues; null: it was not read yet. */
  places: ReadonlyMap<string, number> | null = null;
  /** The other items of the last read, by kind. */
  others: Readonly<Record<OtherItem, number>> = noOthers;

  constructor(deps: BoardDeps) {
    this.#deps = deps;
  }

  /** `acme/1`. */
  get name(): string {
    const { owner, number } = this.#deps.settings;
    return `${owner}/${number}`;
  }

  /** What was read last. */
  get known(): BoardFacts | null {
    return this.#facts;
  }

  card(nodeId: string | null | undefined): Card | null {
    return this.#cards.get(nodeId ?? "") ?? null;
  }

  /** Every card, one page after the other. */
  async read(): Promise<void> {
    const cards = new Map<string, Card>();
    const places = new Map<string, number>();
    const others = { ...noOthers };
    const nodeOf = new Map([...this.#cards].map(([id, { itemId }]) => [itemId, id]));
    let nulls = 0;
    let after: string | null = null;
    for (let page = 1; page <= maxPages; page++) {
      const found = await this.#page({ after, items: true, fields: page === 1 });
      if (found.items === undefined) throw this.#broken("an answer without items");
      for (const node of found.items.nodes) {
        const { id: seen, repository: place } = node?.content ?? {};
        // An issue that cannot be seen for a moment does not leave the board.
        const id = seen ?? (node ? nodeOf.get(node.id) : undefined);
        if (node && id !== undefined) cards.set(id, this.#same(id, node));
        if (place) places.set(place.nameWithOwner, (places.get(place.nameWithOwner) ?? 0) + 1);
        if (seen === undefined) others[otherItem(node?.type)] += 1;
        if (node === null) nulls += 1;
      }
      const { hasNextPage, endCursor } = found.items.pageInfo;
      if (!hasNextPage) {
        await this.#confirm(cards);
        // Any of those that are missing may be the one that is null. One that left is dropped by its next read.
        if (nulls > 0)
          for (const [id, card] of this.#cards) if (!cards.has(id)) cards.set(id, card);
        if ([...this.#cards.keys()].some((id) => !cards.has(id))) this.version += 1;
        this.#cards = cards;
        this.places = places;
        this.others = others;
        return;
      }
      // To end here would mean that the issues of the other pages have left the board.
      if (!endCursor || endCursor === after) throw this.#broken("pages without a next one");
      after = endCursor;
    }
    throw this.#broken(`more than ${maxPages} pages`);
  }

  /** The cards of these issues as they are now: one request for each 100. */
  async refresh(nodeIds: readonly string[]): Promise<void> {
    if (nodeIds.length === 0) return;
    const { id: projectId } = await this.facts();
    const read = new Map<string, Card | null>();
    for (let at = 0; at < nodeIds.length; at += idsPerQuery) {
      const ids = nodeIds.slice(at, at + idsPerQuery);
      const variables = { ids, ...this.#names() };
      const { nodes } = await this.#ask(cardsAnswer, cardsQuery, variables);
      for (const [place, node] of nodes.entries()) {
        if (node?.id === undefined || !node.projectItems) {
          if (this.card(ids[place]) !== null) continue;
          // Without a card it would be taken for an issue that left the board, and its run would be stopped.
          throw new ForgeError("unavailable", `GitHub did not show an issue on ${this.name}`);
        }
        const { nodes: items, pageInfo: more } = node.projectItems;
        const own = items.find((one) => one?.project?.id === projectId);
        // Of an issue in more than 100 projects, or in one that may not be seen, the board itself is asked.
        const isWhole = !more.hasNextPage && items.every((one) => one?.project);
        if (own) read.set(node.id, this.#same(node.id, own));
        else if (isWhole) read.set(node.id, null);
      }
    }
    await this.#confirm(read);
    for (const [id, card] of read) {
      if (card !== null) this.#cards.set(id, card);
      else if (this.#cards.delete(id)) this.version += 1;
    }
  }

  /** A field that was renamed looks like cards without a status, whose runs would be stopped: then the fields are read again. */
  async #confirm(read: ReadonlyMap<string, Card | null>): Promise<void> {
    const isLost = ([id, card]: [string, Card | null]) =>
      card?.status === null && (this.card(id)?.status ?? null) !== null;
    if ([...read].some(isLost)) await this.#page({ after: null, items: false, fields: true });
  }

  /** The project and its fields, at most a minute old. */
  async facts(): Promise<BoardFacts> {
    const { now } = this.#deps;
    if (this.#facts !== null && now() - this.#factsAt < factsKeptMs) return this.#facts;
    await this.#page({ after: null, items: false, fields: true });
    if (this.#facts === null) throw new Error("the project was not read");
    return this.#facts;
  }

  /** Where the issue of a node id is; null: it is none, may not be seen, or is reported of another project. */
  async issueOf(
    nodeId: string,
    projectId: string | null,
  ): Promise<{ readonly place: string; readonly number: number } | null> {
    if (projectId !== null && projectId !== (await this.facts()).id) return null;
    const { node, rateLimit } = await this.#ask(issueAnswer, issueQuery, { id: nodeId });
    // It is no part of what a poll costs.
    this.points -= rateLimit;
    const { number, repository } = node ?? {};
    return number && repository ? { place: repository.nameWithOwner, number } : null;
  }

  /** Puts an issue on the board, where it may be already. */
  async add(nodeId: string): Promise<void> {
    const { id } = await this.facts();
    const { addProjectV2ItemById: answer } = await this.#write(
      addItem,
      { project: id, issue: nodeId },
      added,
    );
    await this.refresh([nodeId]);
    if (this.card(nodeId) !== null) return;
    // GitHub shows it a moment later, and its field can be set now.
    const nothing = { status: null, priority: null, estimate: null, isArchived: false };
    this.#cards.set(nodeId, { itemId: answer.item.id, ...nothing });
    this.version += 1;
  }

  /** Chooses an option for an issue of the board. `name` is one of the field's, in any case. Safe to repeat. */
  async choose(nodeId: string, { id: fieldId, options }: ChoiceField, name: string): Promise<void> {
    const option = options.find((one) => normalState(one.name) === normalState(name));
    const card = this.card(nodeId);
    if (option === undefined || card === null) throw new Error(`${name} cannot be chosen`);
    const { id } = await this.facts();
    const order = { project: id, item: card.itemId, field: fieldId, option: option.id };
    await this.#write(setField, order, z.unknown());
  }

  async #page(wanted: {
    readonly after: string | null;
    readonly items: boolean;
    readonly fields: boolean;
  }): Promise<z.output<typeof project>> {
    const { owner, number } = this.#deps.settings;
    const variables = { owner, number, ...wanted, ...this.#names() };
    const answer = await this.#ask(boardAnswer, boardQuery, variables);
    const found = answer.repositoryOwner?.projectV2;
    if (!found) throw this.#missing(`there is no project ${this.name} that the token can see`);
    if (wanted.fields) this.#learn(found);
    return found;
  }

  #learn({ id, title, fields }: z.output<typeof project>): void {
    const { statusField, priorityField } = this.#deps.settings;
    const choice = (name: string): ChoiceField | null => {
      const found = fields?.nodes.find((one) => normalState(one?.name ?? "") === normalState(name));
      return found?.id && found.options ? { id: found.id, options: found.options } : null;
    };
    const status = choice(statusField);
    if (status === null) {
      const choices = fields?.nodes.flatMap((one) => (one?.options ? (one.name ?? []) : [])) ?? [];
      const path = "tracker.provider.status_field";
      const message = `${path}: the project ${this.name} has no field ${statusField} with options; it has ${choices.join(", ") || "none"}`;
      throw new SymphonyError("invalid_tracker_config", message, { details: { path } });
    }
    this.#facts = { id, title, status, priority: choice(priorityField) };
    this.#factsAt = this.#deps.now();
  }

  /** The card that is known if nothing of it has changed. */
  #same(nodeId: string, read: z.output<typeof item>): Card {
    const { id: itemId, isArchived, priority, estimate } = read;
    const status = read.status === null ? null : String(read.status);
    const card: Card = { itemId, status, priority, estimate, isArchived };
    const known = this.#cards.get(nodeId);
    if (known && isDeepStrictEqual(known, card)) return known;
    this.version += 1;
    return card;
  }

  #names() {
    const { statusField, priorityField, estimateField } = this.#deps.settings;
    return { status: statusField, priority: priorityField, estimate: estimateField };
  }

  async #ask<T extends { readonly rateLimit: number }>(
    schema: z.ZodType<T>,
    query: string,
    variables: Readonly<Record<string, unknown>>,
  ): Promise<T> {
    const { client } = this.#deps;
    const answer = await this.#reached(() =>
      client.query(schema, query, variables, { partial: mayBeNull }),
    );
    this.points += answer.rateLimit;
    return answer;
  }

  #write<T>(query: string, variables: Readonly<Record<string, unknown>>, schema: z.ZodType<T>) {
    return this.#reached(async () => {
      const parsed = schema.safeParse(await this.#deps.client.mutate(query, variables));
      if (!parsed.success) throw new ForgeError("malformed", "GitHub's answer has not its form");
      return parsed.data;
    });
  }

  /** GitHub says which scope is missing, but not that a project needs another permission than its issues. */
  async #reached<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof ForgeError)) throw error;
      if (error.category !== "forbidden" && error.category !== "not_found") throw error;
      throw this.#missing(error.message, error);
    }
  }

  #broken(what: string): ForgeError {
    return new ForgeError("malformed", `GitHub lists ${what} of ${this.name}`);
  }

  #missing(words: string, cause = new ForgeError("not_found", words)): SymphonyError {
    const code: ErrorCode = "tracker_status";
    const { details } = trackerError(cause);
    const hint =
      "a project needs the scope project of a classic token (gh auth refresh --scopes project), or the organization permission Projects: read and write of a fine-grained token or an app; only a classic token reaches the project of a user";
    const path = "tracker.provider.project";
    return new SymphonyError(code, `${path}: ${words}`, {
      cause,
      details: { ...details, path },
      hint,
    });
  }
}
