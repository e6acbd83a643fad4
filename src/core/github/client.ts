// GitHub's API, for pull requests and for issues alike.

import type { Octokit } from "@octokit/core";
import type { z } from "zod";
import { type AnswerKind, tailOf } from "../answers.ts";
import { type Clock, ClockGap, pause } from "../clock.ts";
import { ForgeError } from "../model/forge-error.ts";
import { outbound } from "../outbound.ts";
import { objectOf } from "../text/text.ts";
import {
  answerIn,
  boundedFetch,
  closedError,
  type FetchLimits,
  following,
  type GithubBudget,
  graphqlError,
  inTime,
  type Judge,
  malformed,
  type Refusal,
  redirectOf,
  refusalError,
  shaped,
} from "./answers.ts";
import { type AppCredential, GithubCredentials } from "./credentials.ts";
import { KeptAnswers, keptMs } from "./kept-answers.ts";
import { type Api, RateLimits } from "./rate-limits.ts";
import type { GithubSettings } from "./settings.ts";

export interface GithubClientOptions {
  readonly settings: GithubSettings;
  readonly clock: Clock;
  /** Owner and name of the repository, as configured. */
  readonly repository: { readonly owner: string; readonly name: string };
  /** Longest time for one request. Default 30 s. */
  readonly timeoutMs?: number;
  /** Shortest time between two writes. Default 1 s, as GitHub asks for. */
  readonly writeGapMs?: number;
  /** Shared by the clients of one site. */
  readonly gap?: ClockGap;
  /** How much of one answer is read. Default `forge`. */
  readonly answers?: AnswerKind;
  /** Called with the outcome of each request, and what is left of the hour. */
  readonly onRequest?: (outcome: "ok" | ForgeError, budget: GithubBudget | null) => void;
}

type Parameters = Readonly<Record<string, unknown>>;

interface Answer {
  /** In the form of the schema that was asked for. */
  readonly data: unknown;
  readonly hasNext: boolean;
}

type Shape = (data: unknown) => unknown;

const defaultTimeoutMs = 30_000;
const defaultWriteGapMs = 1_000;
const retryDelaysMs = [500, 2_000];
/** A read that failed after a longer time is not repeated: the caller has waited enough. */
const quickMs = 5_000;
const maxReadsAtOnce = 8;
const perPage = 100;
const defaultMaxPages = 50;
/** 2026-03-10 omits `merge_commit_sha` of a pull request. */
const apiVersion = "2022-11-28";
const silent = { debug() {}, info() {}, warn() {}, error() {} };

interface Form {
  readonly schema: z.ZodType;
  readonly shape: Shape;
}

/**
 * GitHub's API over @octokit/core with what it lacks: limits of time and size, conditional reads, one write at a time,
 * renewed tokens, and every failure as a ForgeError. A reached limit is reported with its time and never waited for.
 */
export class GithubClient {
  readonly #options: GithubClientOptions;
  readonly #closed = new AbortController();
  readonly #limits: FetchLimits;
  readonly #kept = new KeptAnswers();
  readonly #waiting: (() => void)[] = [];
  #plain: Promise<Octokit> | null = null;
  #reading = 0;
  #writing: Promise<unknown> = Promise.resolve();
  readonly #rate: RateLimits;
  readonly gap: ClockGap;
  readonly credentials: GithubCredentials;
  /** Changes when the repository turns out to be renamed. */
  place: { readonly owner: string; readonly repo: string };

  constructor(options: GithubClientOptions) {
    this.#options = options;
    this.#rate = new RateLimits(options.clock);
    this.gap = options.gap ?? new ClockGap(options.clock);
    this.#limits = {
      timeoutMs: options.timeoutMs ?? defaultTimeoutMs,
      closed: this.#closed.signal,
      kind: options.answers ?? "forge",
    };
    this.place = { owner: options.repository.owner, repo: options.repository.name };
    this.credentials = new GithubCredentials({
      settings: options.settings,
      clock: options.clock,
      place: () => this.place,
      octokit: (app) => this.#octokit(app),
      errorOf: (thrown) => this.#errorOf(thrown, "rest"),
      pause: (ms) => this.pause(ms),
    });
  }

  /**
   * What a GET answers; `{owner}` and `{repo}` are filled in. An unchanged answer (304) is free and comes from memory.
   * Repeated after a broken connection or a server error, up to three tries in all.
   */
  async read<T>(schema: z.ZodType<T>, route: string, parameters: Parameters = {}): Promise<T> {
    const shape: Shape = (data) => shaped(schema, route, data);
    return (await this.#read(route, parameters, { schema, shape })).data as T;
  }

  /**
   * All pages of a list, which GitHub may wrap in an object below `key`, at most `maxPages` (default 50). An entry that has
   * not changed since the last call is the same object.
   */
  async list<T>(
    schema: z.ZodType<T>,
    route: string,
    parameters: Parameters & { readonly key?: string; readonly maxPages?: number } = {},
  ): Promise<T[]> {
    const { key, maxPages = defaultMaxPages, ...rest } = parameters;
    const shape: Shape = (data) => {
      const items = key === undefined ? data : objectOf(data)[key];
      if (!Array.isArray(items)) throw malformed(route);
      return items.map((item) => shaped(schema, route, item));
    };
    const all: T[] = [];
    for (let page = 1; page <= maxPages; page++) {
      const query = { ...rest, per_page: perPage, page };
      const answer = await this.#read(route, query, { schema, shape });
      const items = answer.data as T[];
      all.push(...items);
      // An unchanged full page keeps its old links, so these do not say whether a page has been added.
      if (!answer.hasNext && items.length < perPage) return all;
    }
    throw new ForgeError("malformed", `GitHub lists more than ${maxPages} pages for ${route}`);
  }

  /** Sends a write once; writes go one after the other. `unavailable`: it may have been done. */
  write<T>(schema: z.ZodType<T>, route: string, parameters: Parameters): Promise<T> {
    return this.#inTurn(async () => {
      const { data } = await this.#send("rest", route, { ...this.place, ...parameters });
      return shaped(schema, route, data);
    });
  }

  /** What is left of the hour of REST requests or of GraphQL points; null: GitHub has not said, or has no limit. */
  budget(api: Api): GithubBudget | null {
    return this.#rate.budget(api);
  }

  /** Requests that count, of both budgets: a 304 does not. */
  get spent(): Readonly<Record<Api, number>> {
    return this.#rate.spent;
  }

  /** The data of a query. With `partial`, an entry of a list that may not be seen, or one of its fields named there, is null and fails nothing. */
  async query<T>(
    schema: z.ZodType<T>,
    query: string,
    variables: Parameters,
    options: { readonly partial?: readonly string[] } = {},
  ): Promise<T> {
    const answer = await this.#repeated(() => this.#graphql(query, variables, options));
    return shaped(schema, "a query", answer);
  }

  /** Sends a mutation once. */
  mutate(query: string, variables: Parameters): Promise<unknown> {
    return this.#inTurn(() => this.#graphql(query, variables));
  }

  /**
   * The last `maxBytes` of a log. GitHub redirects to a store of its own, whose address is the permission: no credential
   * goes there. At most 64 MB are read.
   */
  async logTail(path: string, maxBytes: number): Promise<string> {
    const { settings } = this.#options;
    this.#requireBudget("rest");
    const authorization = `Bearer ${await this.credentials.token()}`;
    const { owner, repo } = this.place;
    const url = `${settings.api}/repos/${owner}/${repo}${path}`;
    const { tail, refusal } = await inTime(this.#limits, async (signal) => {
      const agent = { "user-agent": "symphony" };
      // A renamed repository redirects with 301, and needs the credential there; 302 leads to the store.
      const asked = { headers: { ...agent, authorization }, signal };
      const first = await following(url, asked, { kind: "log of a check", until: 302 });
      const location = redirectOf(first, url);
      if (location === null) return this.#tail(first, maxBytes);
      await first.body?.cancel();
      const isSame = location.origin === new URL(url).origin;
      if (location.protocol !== "https:" && !isSame) throw malformed(path);
      return this.#tail(
        await outbound(location, { headers: agent, signal }, "log of a check"),
        maxBytes,
      );
    });
    if (refusal !== null) throw this.#refused(refusal, "rest");
    return tail;
  }

  /** Rejects at `close`. */
  async pause(ms: number): Promise<void> {
    const { signal } = this.#closed;
    await pause(this.#options.clock, ms, signal).catch(() => {
      throw closedError();
    });
  }

  /** Ends the running requests and waits. */
  close(): void {
    this.#closed.abort();
  }

  async #read(route: string, parameters: Parameters, form: Form): Promise<Answer> {
    return this.#limited(() => this.#repeated(() => this.#conditional(route, parameters, form)));
  }

  /** What is kept is the part that the schema names: a list of issues is ten times as long. */
  async #conditional(route: string, parameters: Parameters, form: Form): Promise<Answer> {
    // octokit sends what a route has no place for as a query.
    const filled = route.includes("{owner}") ? { ...this.place, ...parameters } : parameters;
    const address = `${route} ${JSON.stringify(filled)}`;
    const found = this.#kept.get(address, await this.credentials.token());
    const at = this.#options.clock.now();
    const kept = found?.schema === form.schema && at - found.at < keptMs ? found : null;
    const condition = kept === null ? {} : { "if-none-match": kept.etag };
    const answer = await this.#send("rest", route, filled, condition);
    if (answer.status === 304 && kept !== null) return kept;
    const { headers } = answer;
    const data = form.shape(answer.data);
    const fresh = { data, hasNext: /rel="next"/.test(String(headers["link"] ?? "")) };
    const { etag } = headers;
    // octokit hands out a text where JSON is cut off, and GitHub would confirm it as unchanged for ever.
    const isWhole = typeof answer.data === "object" && answer.data !== null;
    if (typeof etag === "string" && isWhole) {
      this.#kept.put(address, { ...fresh, at, etag, schema: form.schema });
    }
    return fresh;
  }

  async #graphql(
    query: string,
    variables: Parameters,
    options: { readonly partial?: readonly string[] } = {},
  ): Promise<unknown> {
    const route = `POST ${this.#options.settings.graphql}`;
    const answer = await this.#send("graphql", route, { query, variables });
    const error = graphqlError(answer, this.#judge(), options);
    if (error !== null) throw this.#rate.learned(error, answer, "graphql");
    return objectOf(answer.data)["data"];
  }

  async #send(
    api: Api,
    route: string,
    parameters: Parameters,
    condition: Readonly<Record<string, string>> = {},
  ): Promise<Refusal> {
    for (let tries = 1; ; tries++) {
      this.#requireBudget(api);
      const token = await this.credentials.token();
      const octokit = await this.#octokit(null);
      const headers = { ...condition, authorization: `Bearer ${token}` };
      const sentAt = this.#options.clock.wall();
      try {
        const answer = await octokit.request(route, { ...parameters, headers });
        this.#rate.passed();
        this.gap.learn(answer.headers.date, sentAt);
        this.#count(api, answer, "ok");
        return answer;
      } catch (thrown) {
        const refusal = answerIn(thrown);
        // A refusal may be that of a program on the way, with another clock.
        if (refusal?.status === 304) {
          this.gap.learn(refusal.headers["date"], sentAt);
          this.#count(api, refusal, "ok");
          return refusal;
        }
        const error = this.#errorOf(thrown, api);
        this.#count(api, refusal, error);
        const again = error.category === "unauthorized";
        if (!again || !(await this.credentials.recover(token, tries))) throw error;
      }
    }
  }

  #count(api: Api, answer: Refusal | null, outcome: "ok" | ForgeError): void {
    const left = this.#rate.count(api, answer);
    this.#options.onRequest?.(outcome, left);
  }

  /** Loaded by the first request, so that no other command pays for it. */
  async #octokit(app: AppCredential | null): Promise<Octokit> {
    const { Octokit } = await import("@octokit/core");
    const defaults = {
      baseUrl: this.#options.settings.api,
      userAgent: "symphony",
      log: silent,
      request: { fetch: boundedFetch(this.#limits) },
    };
    if (app !== null) {
      const { createAppAuth } = await import("@octokit/auth-app");
      const auth = { appId: app.id, privateKey: app.privateKey };
      return withVersion(new Octokit({ ...defaults, authStrategy: createAppAuth, auth }));
    }
    this.#plain ??= Promise.resolve(withVersion(new Octokit(defaults)));
    return this.#plain;
  }

  #errorOf(thrown: unknown, api: Api): ForgeError {
    if (thrown instanceof ForgeError) return thrown;
    if (thrown instanceof Error && thrown.cause instanceof ForgeError) return thrown.cause;
    const refusal = answerIn(thrown);
    if (refusal !== null) return this.#refused(refusal, api);
    // Only the signing of an app's token is left.
    return new ForgeError("unauthorized", "The private key of the GitHub app cannot be used");
  }

  #refused(refusal: Refusal, api: Api): ForgeError {
    return this.#rate.learned(refusalError(refusal, this.#judge()), refusal, api);
  }

  #judge(): Judge {
    const { redact } = this.credentials;
    return { redact, wall: this.#options.clock.wall(), untimed: this.#rate.untimed };
  }

  #requireBudget(api: Api): void {
    if (this.#closed.signal.aborted) throw closedError();
    this.#rate.require(api);
  }

  async #repeated<T>(once: () => Promise<T>): Promise<T> {
    const startedAt = this.#options.clock.now();
    for (let attempt = 0; ; attempt++) {
      try {
        return await once();
      } catch (error) {
        const delayMs = retryDelaysMs[attempt];
        const isPassing = error instanceof ForgeError && error.category === "unavailable";
        const isQuick = this.#options.clock.now() - startedAt < quickMs;
        if (delayMs === undefined || !isPassing || !isQuick || this.#closed.signal.aborted) {
          throw error;
        }
        await this.pause(delayMs);
      }
    }
  }

  async #limited<T>(work: () => Promise<T>): Promise<T> {
    if (this.#reading >= maxReadsAtOnce) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    } else this.#reading++;
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#reading--;
      else next();
    }
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#writing.then(work);
    const gapMs = this.#options.writeGapMs ?? defaultWriteGapMs;
    const gap = () => this.pause(gapMs).catch(() => {});
    this.#writing = turn.then(gap, gap);
    return turn;
  }

  async #tail(response: Response, maxBytes: number) {
    const { status, headers } = response;
    if (!response.ok) {
      await response.body?.cancel();
      return { tail: "", refusal: { status, headers: Object.fromEntries(headers), data: null } };
    }
    const tail = await tailOf(response.body, { kind: "log of a check", maxBytes });
    return { tail: tail.toString("utf8"), refusal: null };
  }
}

function withVersion(octokit: Octokit): Octokit {
  octokit.hook.before("request", (options) => {
    options.headers["x-github-api-version"] = apiVersion;
    options.headers.accept = "application/vnd.github+json";
  });
  return octokit;
}
