import type { Clock } from "../../clock.ts";
import {
  addTokens,
  type Needs,
  noTokens,
  type Tokens,
  tokensWithout,
} from "../../model/attempt.ts";
import { messageOf, SymphonyError } from "../../model/errors.ts";
import { type Bounds, limitError, watchBounds } from "../../process/bounds.ts";
import { agentEnvironment, launchLine, openProxies } from "../../process/environment.ts";
import { AgentProcess } from "../../process/program.ts";
import { killRun } from "../../process/table.ts";
import { type JsonObject, listOf, objectOf, oneLine, textOf } from "../../text/text.ts";
import type { AgentEvent, SessionSpec } from "../agent.ts";
import { noticeEvent } from "../event-makers.ts";
import { JsonRpcPeer, type PeerRequest } from "../json-rpc.ts";
import { type Questions, unanswered } from "../session.ts";
import { answerTool } from "../tool-answer.ts";
import { judge, type Verdict } from "./approvals.ts";
import type { CodexHome } from "./home.ts";
import {
  readInputRequired,
  readOutcome,
  readTokens,
  readUnreached,
  readWindow,
  type TurnOutcome,
  translate,
} from "./protocol.ts";
import type { CodexConfig } from "./settings.ts";
import { ThreadTotals } from "./totals.ts";

const strayLineChars = 1_000;
const methodNotFound = -32_601;

export interface ConnectionOptions {
  readonly spec: SessionSpec;
  readonly config: CodexConfig;
  readonly clock: Clock;
  readonly env: NodeJS.ProcessEnv;
  /** The private home; null when the operator's own is used. */
  readonly home: CodexHome | null;
  /** The line that starts codex, in our sandbox where there is one around it; `config.command` if omitted. */
  readonly command?: string;
  /** As `OpenOptions` has it. */
  readonly hidden?: readonly string[];
  readonly denied?: readonly string[];
  /** The temporary folder of the run; null for the server's. */
  readonly scratch: string | null;
  /** An agent that is already running; without it a process is started. */
  readonly host?: AgentHost;
}

/** What a connection needs of the session that owns it; none of these may wait or throw. */
export interface ConnectionListener {
  /** The questions to a person. */
  readonly asks: Questions;
  emit(event: AgentEvent): void;
  /** The agent wrote a line, or got an answer that it waited for. */
  received(): void;
  turnEnded(outcome: TurnOutcome): void;
  /** The provider was not reached for as long as an agent may be silent; codex itself would not give up. */
  unreached(why: string): void;
  /** The turn cannot continue without a person; false when no turn is in flight. */
  personNeeded(error: unknown): boolean;
  turnInFlight(): boolean;
  /** The process has exited, or its output cannot be read any more. */
  ended(error: SymphonyError): void;
}

/** A shared agent serves other attempts too: what counts are the commands, which have the cookie of this one. */
function watchCommands(
  { runId, workspace }: SessionSpec,
  bounds: Bounds,
  ended: (error: SymphonyError) => void,
): () => void {
  return watchBounds({
    ...{ runId, root: 0, workspace, bounds },
    exceeded: (_, text) => {
      ended(limitError(text));
      void killRun(runId);
    },
  });
}

/**
 * One agent process and the protocol with it: answers its requests and passes on its notifications.
 */
export class CodexConnection {
  /** null until the thread is open. */
  threadId: string | null = null;
  /** Guidance that was sent and not yet accepted. */
  readonly steers = new Set<string>();
  /** The provider's limits as last reported. */
  limits: JsonObject | null = null;
  readonly peer: JsonRpcPeer;
  readonly #spec: SessionSpec;
  readonly #listener: ConnectionListener;
  readonly #options: ConnectionOptions;
  readonly #transport: Transport;
  #hasTotals = false;
  readonly #totals = new ThreadTotals();
  #reported = noTokens;
  /** The turn that began last. */
  #turnId: string | null = null;
  /** Of requests whose commands run: codex adds them to its total when these have ended. */
  #unreported = noTokens;
  #unreachedSince: number | null = null;
  /** The requests that a person is asked about. */
  readonly #waiting = new Map<PeerRequest["id"], AbortController>();
  readonly #unwatch: () => void;

  constructor(options: ConnectionOptions, listener: ConnectionListener) {
    const { spec, config, clock, home, scratch, host, command = config.command } = options;
    const env = {
      ...options.env,
      ...(home && { CODEX_HOME: home.path }),
      ...(scratch && { TMPDIR: scratch }),
    };
    this.#options = options;
    this.#spec = spec;
    this.#listener = listener;
    const { runId, secretEnvNames: secretNames } = spec;
    const passthrough = [...config.envPassthrough, ...openProxies(env)];
    const events = {
      onLine: (line: string) => {
        listener.received();
        this.peer.receive(line);
      },
      onStderr: spec.onLog,
      onEnd: (error: SymphonyError) => {
        this.#unwatch();
        this.peer.close(error);
        listener.asks.close();
        listener.ended(error);
      },
    };
    this.#transport = host
      ? host.connect(events)
      : new AgentProcess({
          line: launchLine(command, secretNames, {
            path: options.env["PATH"],
            passthrough,
          }),
          cwd: spec.launchFrom ?? spec.workspace,
          env: agentEnvironment({ env, passthrough, secretNames, runId }),
          ...{ runId, bounds: spec.bounds },
          ...events,
        });
    this.#unwatch = host && spec.bounds ? watchCommands(spec, spec.bounds, events.onEnd) : () => {};
    this.peer = new JsonRpcPeer({
      clock,
      timeoutMs: config.readTimeoutMs,
      write: (line) => this.#transport.write(line),
      onNotification: (method, params) => this.#notified(method, params),
      onRequest: (request) => this.#requested(request),
      onStray: (line, malformed) => this.#stray(line, malformed),
    });
  }

  get pid(): number | null {
    return this.#transport.pid;
  }

  /** Ends every process of the run, in bounded time. */
  stop(): Promise<void> {
    this.#unwatch();
    return this.#transport.stop();
  }

  /** Reports what the agent did while no server was connected. */
  async catchUp(): Promise<void> {
    const { adoption } = this.#spec;
    if (!adoption || this.threadId === null) return;
    for (const id of adoption.steerIds) this.steers.add(id);
    const missed = await missedItems(this.peer, this.threadId, adoption.sinceWall);
    for (const params of missed) this.#notified("item/completed", params);
  }

  #notified(method: string, params: JsonObject): void {
    const { threadId, steers } = this;
    if (method === "serverRequest/resolved") this.#resolved(params);
    if (method === "rawResponse/completed") this.#answered(params);
    if (method === "turn/started") this.#turnId = textOf(objectOf(params["turn"])["id"]);
    const { workspace } = this.#spec;
    const hasTotals = this.#hasTotals;
    for (const event of translate(method, params, { threadId, workspace, steers, hasTotals })) {
      if (event.type === "steer.delivered") steers.delete(event.steerId);
      if (event.type === "rate_limits") this.limits = event.limits;
      this.#listener.emit(
        event.type === "tokens" ? this.#counted(event.total, method, params) : event,
      );
    }
    this.#lookAtReach(method, params);
    const needs = readInputRequired(method, params);
    if (needs) this.#needPerson(unanswered(needs), needs);
    const outcome = readOutcome(method, params, threadId);
    if (outcome) this.#listener.turnEnded(outcome);
  }

  /** Its lines about a provider that it does not reach are no signs of life. */
  #lookAtReach(method: string, params: JsonObject): void {
    const { clock, config } = this.#options;
    const why = readUnreached(method, params);
    if (why === null) {
      if (/^(?:item|turn|rawResponse)\//.test(method)) this.#unreachedSince = null;
      return;
    }
    this.#unreachedSince ??= clock.now();
    const waitedMs = clock.now() - this.#unreachedSince;
    if (config.stallTimeoutMs > 0 && waitedMs >= config.stallTimeoutMs)
      this.#listener.unreached(why);
  }

  /** codex needs no answer any more: it has one, or it has dropped the request. */
  #resolved({ requestId: id, threadId }: JsonObject): void {
    if (threadId !== this.threadId || (typeof id !== "number" && typeof id !== "string")) return;
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    waiting?.abort();
  }

  /** The model has answered one request. */
  #answered({ threadId, usage }: JsonObject): void {
    const used = threadId === this.threadId ? readTokens(usage) : null;
    if (used === null) return;
    this.#unreported = addTokens(this.#unreported, used);
    this.#listener.emit({ type: "tokens", total: addTokens(this.#reported, this.#unreported) });
  }

  #counted(reported: Tokens, method: string, params: JsonObject): AgentEvent {
    if (method === "turn/completed") return { type: "tokens", total: reported };
    const isFirst = !this.#hasTotals && reported.total > 0;
    this.#hasTotals ||= isFirst;
    const total = this.#totals.counted(reported, readWindow(params));
    if (total === null) return { type: "activity", method };
    this.#unreported = noTokens;
    this.#reported = total;
    const base = isFirst ? this.#base(total, params) : null;
    return { type: "tokens", total, ...(base && { base }) };
  }

  /** What a resumed thread had used: codex says it when the thread is opened, unless it has recorded nothing. */
  #base(total: Tokens, { threadId, turnId, tokenUsage }: JsonObject): Tokens | null {
    const { resumeThreadId, adoption } = this.#spec;
    // It may arrive with the answer that opens the thread, or before it.
    if (resumeThreadId !== (this.threadId ?? threadId) || adoption) return null;
    if (turnId !== this.#turnId) return total;
    const last = readTokens(objectOf(tokenUsage)["last"]);
    return last && tokensWithout(total, last);
  }

  #requested({ id, method, params }: PeerRequest): void {
    const verdict = judge(method, params, this.#spec.askPolicy.approvals);
    switch (verdict.type) {
      case "answer":
        this.peer.reply(id, verdict.result);
        this.#listener.emit({
          type: "approval.resolved",
          decision: verdict.decision,
          automatic: true,
        });
        return;
      case "tool":
        void this.#callTool(id, verdict.tool, verdict.args);
        return;
      case "end":
        void this.#ask(id, verdict);
        return;
      case "refuse":
        this.peer.replyError(id, methodNotFound, verdict.message);
        this.#listener.emit(noticeEvent(`refused a request of the agent: ${verdict.message}`));
    }
  }

  /** Asks a person and passes the answer to codex; without an answer, the turn ends. */
  async #ask(id: PeerRequest["id"], verdict: Extract<Verdict, { type: "end" }>): Promise<void> {
    const { needs, questions, reply } = verdict;
    if (!reply || !this.#listener.turnInFlight()) {
      const taken = this.#needPerson(unanswered(needs), needs);
      if (!taken) this.peer.replyError(id, methodNotFound, "no turn is in flight");
      return;
    }
    const withdrawn = new AbortController();
    this.#waiting.set(id, withdrawn);
    try {
      const answer = await this.#listener.asks.ask(needs, questions, withdrawn.signal);
      this.#waiting.delete(id);
      this.#listener.received();
      this.peer.reply(id, reply(answer));
    } catch (error) {
      if (this.#waiting.delete(id)) this.#listener.personNeeded(error);
    }
  }

  #needPerson(error: SymphonyError, needs: Needs): boolean {
    const taken = this.#listener.personNeeded(error);
    if (taken) this.#listener.emit({ type: "approval.requested", needs, ask: null });
    return taken;
  }

  async #callTool(id: PeerRequest["id"], tool: string, args: unknown): Promise<void> {
    const { success, output, outcome } = await answerTool(this.#spec.tools, tool, args);
    this.#listener.received();
    const contentItems = [{ type: "inputText", text: output }];
    this.peer.reply(id, { success, output, contentItems });
    this.#listener.emit({ type: "tool_call", tool: oneLine(tool, 200), outcome });
  }

  #stray(line: string, malformed: boolean): void {
    const message = oneLine(line, strayLineChars);
    if (malformed) this.#listener.emit({ type: "notice", message, malformed: true });
    else this.#spec.onLog(message);
  }
}

/** The events of a transport; none of these may wait or throw. */
export interface TransportEvents {
  onLine(line: string): void;
  onStderr(line: string): void;
  /** Called once, after the last line. */
  onEnd(error: SymphonyError): void;
}

/** Carries messages to an agent, each with its newline, and lines from it. */
export interface Transport {
  readonly pid: number | null;
  write(text: string): void;
  /** Ends everything that belongs to the run, in bounded time. */
  stop(): Promise<void>;
}

/** An agent that is already running and also holds threads of other runs. */
export interface AgentHost {
  /** Identifies it, so that the next server can find it. */
  readonly id: string;
  /** Called once. */
  connect(events: TransportEvents): Transport;
  /** From now on the session can receive requests of the agent. */
  ready(threadId: string): void;
  /** Ends the agent's remaining work on the thread; resolves when none of it runs. */
  leave(threadId: string): Promise<void>;
  /** Disconnects from the agent without ending anything. */
  detach(): void;
}

/** A small page: the output of one command may be a mebibyte. */
const pageSize = 5;
const maxItems = 200;

/**
 * The items that the agent completed on its thread after `sinceWall`, oldest first, in the form of
 * `item/completed`. If the agent refuses to list them, the result is empty: the history is not an
 * audit of its work.
 */
async function missedItems(
  peer: JsonRpcPeer,
  threadId: string,
  sinceWall: number,
): Promise<readonly JsonObject[]> {
  const missed: JsonObject[] = [];
  let cursor: string | null = null;
  try {
    do {
      const params = { threadId, cursor, limit: pageSize, sortDirection: "desc" };
      const page = objectOf(await peer.request("thread/items/list", params));
      for (const entry of listOf(page["data"]).map(objectOf)) {
        const item = objectOf(entry["item"]);
        const at = item["completedAtMs"];
        if (typeof at === "number" && at <= sinceWall) return missed.reverse();
        if (typeof at === "number") missed.push({ threadId, turnId: entry["turnId"], item });
      }
      cursor = textOf(page["nextCursor"]);
    } while (cursor !== null && missed.length < maxItems);
  } catch {
    return missed.reverse();
  }
  return missed.reverse();
}

/**
 * codex has one error code for everything; these are its messages for a turn that is over or cannot
 * be steered.
 */
export function saysNoTurn(error: unknown): boolean {
  const words = /no active turn|expected active turn|cannot steer/i;
  return codeOf(error) === "response_error" && words.test(messageOf(error));
}

export function codeOf(error: unknown): string | null {
  return error instanceof SymphonyError ? error.code : null;
}

/** The thread's history is with an agent that no longer holds it. */
export function threadLost(): SymphonyError {
  const message = "the thread of the running turn could not be resumed";
  return new SymphonyError("codex_daemon_lost", message);
}
