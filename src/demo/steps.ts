import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { appendFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, relative, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Step } from "./script.ts";
import type { Thread, Wire } from "./wire.ts";

type StepOf<Name extends Step["do"]> = Extract<Step, { do: Name }>;

/** What the agent itself does for a step. */
export interface Host {
  readonly cwd: string;
  readonly wire: Wire;
  exit(code: number): never;
  ignoreSignals(): void;
  goDeaf(): void;
}

/** Performs steps in the workspace: real edits, real commands, real commits. */
export class Performer {
  readonly #host: Host;
  readonly #commands = new Set<ChildProcess>();

  constructor(host: Host) {
    this.#host = host;
  }

  /** Kills the commands that still run, as `thread/backgroundTerminals/clean` and the end do. */
  killCommands(): void {
    for (const { pid } of this.#commands) {
      if (pid !== undefined) killGroup(pid);
    }
  }

  async perform(step: Step, turn: Turn): Promise<void> {
    switch (step.do) {
      case "say":
        return turn.say(step.text);
      case "edit":
        return this.#edit(step, turn);
      case "commit":
        return this.#commit(step.message, turn);
      case "run":
        return this.#command(step.command, ["bash", "-c", step.command], turn);
      case "sleep":
        return turn.pause(step.ms);
      case "waitForSteer":
        return this.#waitForSteer(step, turn);
      case "tool":
        return this.#tool(step, turn);
      case "ask":
        return "command" in step ? this.#askLeave(step.command, turn) : this.#askPerson(step, turn);
      case "tokens":
        return addTokens(step, turn);
      case "notify":
        return turn.notify(step.method, step.params);
      default:
        return this.#misbehave(step, turn);
    }
  }

  async #misbehave(
    step: StepOf<
      "fail" | "exit" | "hang" | "garbage" | "hugeLine" | "spawnGrandchild" | "ignoreSigterm"
    >,
    turn: Turn,
  ): Promise<void> {
    const { wire } = this.#host;
    switch (step.do) {
      case "fail":
        throw new TurnFailure(step.message, step.info);
      case "exit":
        return this.#host.exit(step.code);
      case "hang":
        if (step.deaf) this.#host.goDeaf();
        return turn.pause(2 ** 31 - 1);
      case "garbage":
        wire.raw(step.text ?? Buffer.from(step.base64 ?? "", "base64"));
        return;
      case "hugeLine":
        wire.raw(`${"x".repeat(step.bytes)}\n`);
        return;
      case "spawnGrandchild":
        return turn.say(`grandchild: ${spawnGrandchild(step.seconds)}`);
      case "ignoreSigterm":
        this.#host.ignoreSignals();
    }
  }

  async #edit(step: StepOf<"edit">, turn: Turn): Promise<void> {
    const { cwd } = this.#host;
    const path = resolve(cwd, step.path);
    if (relative(cwd, path).startsWith("..")) throw new TurnFailure(`${step.path} is outside`);
    const isNew = (await readFile(path).catch(() => null)) === null;
    const change = { path, kind: { type: isNew ? "add" : "update" }, diff: "" };
    const item = { type: "fileChange", id: randomUUID(), changes: [change] };
    turn.item("started", { ...item, status: "inProgress" });
    await mkdir(dirname(path), { recursive: true });
    if (step.append !== undefined) await appendFile(path, step.append);
    else await writeFile(path, step.content ?? "");
    turn.item("completed", { ...item, status: "completed" });
  }

  async #commit(message: string, turn: Turn): Promise<void> {
    const author = ["-c", "user.name=Scripted agent", "-c", "user.email=agent@example.invalid"];
    const commit = ["git", ...author, "-c", "commit.gpgsign=false", "commit", "-q", "-m", message];
    await this.#command("git add --all", ["git", "add", "--all"], turn);
    await this.#command(`git commit -m ${JSON.stringify(message)}`, commit, turn);
  }

  async #command(shown: string, argv: readonly string[], turn: Turn): Promise<void> {
    const { cwd } = this.#host;
    const item = { type: "commandExecution", id: randomUUID(), command: shown, cwd };
    turn.item("started", { ...item, status: "inProgress", aggregatedOutput: null, exitCode: null });
    const [file = "", ...args] = argv;
    const child = spawn(file, args, { cwd, detached: true, stdio: ["ignore", "pipe", "pipe"] });
    this.#commands.add(child);
    let output = "";
    const onOutput = (delta: string) => {
      output = (output + delta).slice(-1_000_000);
      turn.notify("item/commandExecution/outputDelta", { itemId: item.id, delta });
    };
    child.stdout.setEncoding("utf8").on("data", onOutput);
    child.stderr.setEncoding("utf8").on("data", onOutput);
    const ended = Promise.withResolvers<void>();
    child.once("error", (error) => onOutput(error.message));
    child.once("close", (code) => {
      this.#commands.delete(child);
      const exitCode = code ?? -1;
      const status = exitCode === 0 ? "completed" : "failed";
      turn.item("completed", { ...item, status, aggregatedOutput: output || null, exitCode });
      ended.resolve();
    });
    // An interrupt leaves the command running, as codex does.
    await turn.pause(2 ** 31 - 1, ended.promise);
  }

  async #waitForSteer(step: StepOf<"waitForSteer">, turn: Turn): Promise<void> {
    const { ms, writeTo, otherwise } = step;
    const steer = await turn.nextSteer(ms);
    if (steer === null && otherwise !== undefined) turn.say(`No answer came. I take: ${otherwise}`);
    const text = steer?.text ?? otherwise;
    if (text === undefined || writeTo === undefined) return;
    await this.#edit({ do: "edit", path: writeTo, content: `${text}\n` }, turn);
  }

  async #tool(step: StepOf<"tool">, turn: Turn): Promise<void> {
    const { name: tool } = step;
    const args = step.arguments ?? {};
    const item = { type: "dynamicToolCall", id: randomUUID(), namespace: null, tool };
    turn.item("started", { ...item, arguments: args, status: "inProgress" });
    const call = { callId: item.id, namespace: null, tool, arguments: args };
    const reply = await this.#request("item/tool/call", call, turn);
    const success = reply.result?.["success"] === true;
    const status = success ? "completed" : "failed";
    turn.item("completed", { ...item, arguments: args, status, success });
    const text = textOf(reply.result?.["contentItems"]) ?? reply.error?.message ?? "no result";
    turn.say(`${tool} ${success ? "answered" : "failed"}: ${text}`);
  }

  async #askLeave(command: string, turn: Turn): Promise<void> {
    const method = "item/commandExecution/requestApproval";
    const { cwd } = this.#host;
    const question = { kind: "command", itemId: randomUUID(), reason: null, command, cwd };
    const { result } = await this.#request(method, question, turn);
    const decision = String(result?.["decision"]);
    if (decision === "cancel") turn.interrupt();
    else if (!decision.startsWith("accept")) turn.say(`declined: ${command}`);
    else await this.#command(command, ["bash", "-c", command], turn);
  }

  async #askPerson(
    step: { readonly question: string; readonly options: readonly string[] },
    turn: Turn,
  ): Promise<void> {
    const options = step.options.map((label) => ({ label, description: "" }));
    const asked = { id: "question", header: "Question", question: step.question, options };
    const question = { itemId: randomUUID(), questions: [asked], isBlocking: true };
    const { result } = await this.#request("item/tool/requestUserInput", question, turn);
    turn.say(`answered: ${JSON.stringify(result?.["answers"] ?? null)}`);
  }

  #request(method: string, params: Readonly<Record<string, unknown>>, turn: Turn) {
    const about = { threadId: turn.thread.id, turnId: turn.id };
    return this.#host.wire.request(method, { ...about, ...params }, turn.signal);
  }
}

function addTokens(step: StepOf<"tokens">, turn: Turn): void {
  const { tokens } = turn.thread;
  tokens.input += step.input;
  tokens.output += step.output;
  tokens.cachedInput += step.cachedInput ?? 0;
  tokens.reasoningOutput += step.reasoningOutput ?? 0;
  const total = {
    totalTokens: tokens.input + tokens.output,
    inputTokens: tokens.input,
    cachedInputTokens: tokens.cachedInput,
    outputTokens: tokens.output,
    reasoningOutputTokens: tokens.reasoningOutput,
  };
  const last = { inputTokens: step.input, outputTokens: step.output };
  turn.notify("thread/tokenUsage/updated", { tokenUsage: { total, last } });
}

function textOf(contentItems: unknown): string | null {
  if (!Array.isArray(contentItems)) return null;
  return contentItems.map((item: { text?: unknown }) => String(item?.text ?? "")).join("");
}

/** A process in its own session that ignores SIGTERM, so that a kill of the group leaves it running. */
function spawnGrandchild(seconds: number): number | undefined {
  const script = `trap "" TERM; sleep ${seconds}`;
  const child = spawn("bash", ["-c", script], { detached: true, stdio: "ignore" });
  child.unref();
  return child.pid;
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // It ended by itself meanwhile.
  }
}

export interface Steer {
  readonly clientId: string | null;
  readonly text: string;
}

export interface Playing {
  perform(step: Step): Promise<void>;
  /** Called before the client is notified, which may then start the next turn at once. */
  ended(status: string): void;
}

/** Ends a turn as failed, with a message for the client. */
class TurnFailure extends Error {
  readonly info: unknown;

  constructor(message: string, info: unknown = "other") {
    super(message);
    this.info = info;
  }
}

/** One turn on the wire: its items, the guidance it gets, its end. */
export class Turn {
  readonly id = randomUUID();
  readonly thread: Thread;
  readonly #wire: Wire;
  readonly #abort = new AbortController();
  readonly #waiting: Steer[] = [];
  readonly #taken: Steer[] = [];
  #wake: () => void = () => {};

  constructor(thread: Thread, wire: Wire) {
    this.thread = thread;
    this.#wire = wire;
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  interrupt(): void {
    this.#abort.abort(new Error("interrupted"));
  }

  steer(steer: Steer): void {
    this.#waiting.push(steer);
    this.#wake();
  }

  /** Plays the steps until the turn ends, successful or not. Never rejects. */
  async play(prompt: Steer, steps: readonly Step[], { perform, ended }: Playing): Promise<void> {
    this.#notify("thread/status/changed", { status: { type: "active", activeFlags: [] } });
    this.#notify("turn/started", { turn: this.#state("inProgress", null) });
    this.#userMessage(prompt);
    try {
      for (const step of steps) {
        // As with codex, guidance that is pending when a turn breaks is lost.
        if (step.do !== "fail" && step.do !== "exit") this.#takeSteers();
        await perform(step);
        this.signal.throwIfAborted();
      }
      this.#takeSteers();
      ended("completed");
      this.#end("completed", null);
    } catch (error) {
      const status = this.signal.aborted ? "interrupted" : "failed";
      ended(status);
      const reason = error instanceof Error ? error.message : String(error);
      const info = error instanceof TurnFailure ? error.info : "other";
      this.#end(status, this.signal.aborted ? null : reason, info);
    }
  }

  say(text: string): void {
    const itemId = `msg_${randomUUID()}`;
    for (const delta of text.match(/.{1,40}/gs) ?? [])
      this.notify("item/agentMessage/delta", { itemId, delta });
    this.item("completed", { type: "agentMessage", id: itemId, text, phase: null });
  }

  item(stage: "started" | "completed", item: Readonly<Record<string, unknown>>): void {
    this.notify(`item/${stage}`, { item, [`${stage}AtMs`]: Date.now() });
  }

  /** A notification about this turn. */
  notify(method: string, params: Readonly<Record<string, unknown>>): void {
    this.#notify(method, { turnId: this.id, ...params });
  }

  /** The next guidance, or null after `ms`. */
  async nextSteer(ms: number): Promise<Steer | null> {
    const end = performance.now() + ms;
    while (this.#taken.length === 0) {
      const left = end - performance.now();
      if (left <= 0) return null;
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      await this.pause(left, promise);
      this.#takeSteers();
    }
    return this.#taken.shift() ?? null;
  }

  /** Waits `ms`, or until `sooner`; rejects when the turn is interrupted. */
  async pause(ms: number, sooner: Promise<void> = new Promise(() => {})): Promise<void> {
    const timer = new AbortController();
    const signal = AbortSignal.any([this.signal, timer.signal]);
    try {
      await Promise.race([delay(ms, null, { signal }), sooner]);
    } finally {
      timer.abort();
    }
  }

  #takeSteers(): void {
    for (const steer of this.#waiting.splice(0)) {
      this.#userMessage(steer);
      this.say(`steered: ${steer.text}`);
      this.#taken.push(steer);
    }
  }

  #userMessage({ clientId, text }: Steer): void {
    const content = [{ type: "text", text }];
    const item = { type: "userMessage", id: randomUUID(), clientId, content };
    this.item("started", item);
    this.item("completed", item);
  }

  #end(status: string, message: string | null, info: unknown = "other"): void {
    const error = message === null ? null : { message, codexErrorInfo: info };
    if (error) this.notify("error", { error, willRetry: false });
    this.#notify("thread/status/changed", { status: { type: error ? "systemError" : "idle" } });
    this.#notify("turn/completed", { turn: this.#state(status, error) });
  }

  #state(status: string, error: unknown): Readonly<Record<string, unknown>> {
    return { id: this.id, status, items: [], error };
  }

  #notify(method: string, params: Readonly<Record<string, unknown>>): void {
    this.#wire.notify(method, { threadId: this.thread.id, ...params });
  }
}
