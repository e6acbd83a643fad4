// The scripted agent and the sample project of `symphony demo`.

import { basename } from "node:path";
import { parseArgs } from "node:util";
import { filledIn, readScript, type Script, stepsOf } from "./script.ts";
import { Performer, type Steer, Turn } from "./steps.ts";
import { type Message, readLines, type Thread, Threads, Wire } from "./wire.ts";

/**
 * A stand-alone agent that speaks the protocol of `codex app-server` over stdio and plays a script instead
 * of asking a model: for `symphony demo` and for tests. Usage: agent --script FILE [--state DIR]
 */

type Params = Readonly<Record<string, unknown>>;
type Result = Readonly<Record<string, unknown>>;

class ScriptedAgent {
  readonly #script: Script;
  readonly #threads: Threads;
  readonly #wire = new Wire();
  readonly #cwd = process.cwd();
  readonly #identifier = basename(process.cwd());
  readonly #performer: Performer;
  readonly #open = new Map<string, Thread>();
  #turn: Turn | null = null;
  #attempt = 0;
  #initialized = false;
  #deaf = false;
  #stubborn = false;

  constructor(script: Script, threads: Threads) {
    this.#script = script;
    this.#threads = threads;
    this.#performer = new Performer({
      cwd: this.#cwd,
      wire: this.#wire,
      exit: (code) => this.#exit(code),
      ignoreSignals: () => {
        this.#stubborn = true;
      },
      goDeaf: () => {
        this.#deaf = true;
      },
    });
  }

  run(): void {
    const leave = () => {
      if (!this.#stubborn) this.#exit(0);
    };
    process.on("SIGTERM", leave);
    process.stdout.on("error", leave);
    readLines((line) => this.#receive(line), leave);
  }

  #exit(code: number): never {
    this.#performer.killCommands();
    this.#threads.release();
    process.exit(code);
  }

  #receive(line: string): void {
    if (this.#deaf) return;
    const message = parsed(line);
    if (message === null) process.stderr.write(`not understood: ${line.slice(0, 200)}\n`);
    else if (message.method === undefined) this.#wire.answered(message);
    else if (message.id !== undefined) this.#answer(message.id, message.method, message.params);
  }

  #answer(id: number | string, method: string, params: Params = {}): void {
    try {
      this.#wire.send({ id, result: this.#call(method, params) });
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error);
      this.#wire.send({ id, error: { code: -32_600, message: text } });
    }
  }

  #call(method: string, params: Params): Result {
    if (method === "initialize") return this.#initialize();
    if (!this.#initialized) throw new Error("Not initialized");
    switch (method) {
      case "thread/start":
        return this.#opened(this.#threads.create(modelIn(params) ?? "scripted"), params);
      case "thread/resume":
        return this.#opened(this.#threads.resume(String(params["threadId"])), params);
      case "model/list":
        return { data: [{ id: "scripted", model: "scripted" }], nextCursor: null };
      case "thread/name/set":
        return {};
      case "thread/backgroundTerminals/clean":
        this.#performer.killCommands();
        return {};
      case "turn/start":
        return this.#startTurn(this.#requireThread(params), params);
      case "turn/steer":
        return this.#steer(params);
      case "turn/interrupt":
        this.#requireTurn(params["turnId"], "interrupt").interrupt();
        return {};
      default:
        throw new Error(`unknown method ${method}`);
    }
  }

  #initialize(): Result {
    if (this.#initialized) throw new Error("Already initialized");
    this.#initialized = true;
    return { userAgent: "scripted-agent", platformFamily: "unix" };
  }

  #opened(thread: Thread, params: Params): Result {
    thread.model = modelIn(params) ?? thread.model;
    this.#open.set(thread.id, thread);
    this.#attempt = this.#threads.count(this.#identifier, { attempts: 1 }).attempts;
    this.#wire.notify("thread/started", { thread: { id: thread.id } });
    const { cwd, approvalPolicy, sandbox } = params;
    return {
      thread: { id: thread.id, turns: [] },
      model: thread.model,
      cwd,
      approvalPolicy,
      sandbox,
    };
  }

  #startTurn(thread: Thread, params: Params): Result {
    const prompt = messageIn(params);
    if (this.#turn) {
      // A busy thread treats it as guidance, as codex does.
      this.#turn.steer(prompt);
      return { turn: { id: this.#turn.id, status: "inProgress" } };
    }
    thread.model = modelIn(params) ?? thread.model;
    const turn = new Turn(thread, this.#wire);
    this.#turn = turn;
    // After the reply, which the caller sends.
    setImmediate(() => void this.#play(turn, prompt));
    return { turn: { id: turn.id, status: "inProgress", items: [], error: null } };
  }

  async #play(turn: Turn, prompt: Steer): Promise<void> {
    const { thread } = turn;
    const entry = { id: turn.id, status: "inProgress" };
    thread.turns.push(entry);
    this.#threads.save(thread);
    const number = this.#threads.count(this.#identifier, { turns: 1 }).turns;
    const steps = filledIn(stepsOf(this.#script, this.#identifier, number), {
      identifier: this.#identifier,
      attempt: String(this.#attempt),
      turn: String(number),
      model: thread.model,
      prompt: prompt.text,
    });
    await turn.play(prompt, steps, {
      perform: async (step) => {
        await this.#performer.perform(step, turn);
        this.#threads.save(thread);
      },
      ended: (status) => {
        entry.status = status;
        this.#threads.save(thread);
        this.#turn = null;
      },
    });
  }

  #steer(params: Params): Result {
    const turn = this.#requireTurn(params["expectedTurnId"], "steer");
    turn.steer(messageIn(params));
    return { turnId: turn.id };
  }

  #requireThread({ threadId }: Params): Thread {
    const thread = this.#open.get(String(threadId));
    if (!thread) throw new Error(`thread not found: ${threadId}`);
    return thread;
  }

  #requireTurn(id: unknown, purpose: string): Turn {
    if (!this.#turn) throw new Error(`no active turn to ${purpose}`);
    if (this.#turn.id === id) return this.#turn;
    throw new Error(`expected active turn id \`${id}\` but found \`${this.#turn.id}\``);
  }
}

function parsed(line: string): Message | null {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null ? value : null;
  } catch {
    return null;
  }
}

function modelIn({ model }: Params): string | null {
  return typeof model === "string" ? model : null;
}

function messageIn({ clientUserMessageId, input }: Params): Steer {
  const parts: unknown[] = Array.isArray(input) ? input : [];
  const texts = parts.map((part) => (part as { text?: unknown } | null)?.text ?? "");
  const clientId = typeof clientUserMessageId === "string" ? clientUserMessageId : null;
  return { clientId, text: texts.join("") };
}

function main(): void {
  const options = { script: { type: "string" }, state: { type: "string" } } as const;
  const { script, state } = parseArgs({ options }).values;
  if (script === undefined) throw new Error("usage: agent --script FILE [--state DIR]");
  new ScriptedAgent(readScript(script), new Threads(state ?? null)).run();
}

try {
  main();
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 2;
}
