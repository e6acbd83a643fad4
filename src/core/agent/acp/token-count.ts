import { addTokens, noTokens, type Tokens } from "../../model/attempt.ts";
import type { JsonObject } from "../../text/text.ts";
import type { GuardedLaunch } from "../guard/disarm.ts";
import { readUsage, UsageEstimate } from "./usage.ts";

interface CountListener {
  /** The tokens since the process of the agent was started. */
  total(total: Tokens): void;
  /** What is to be known of the count; said once for each text. */
  say(message: string): void;
}

/** The tokens of one session, as the agent reports them; what it leaves out is estimated. */
export class TokenCount {
  readonly #agents: GuardedLaunch["agents"];
  readonly #listener: CountListener;
  readonly #estimate = new UsageEstimate();
  #counted = noTokens;
  /** False once a turn has ended without a count of the agent. */
  #countsItself = true;

  constructor(agents: GuardedLaunch["agents"], listener: CountListener) {
    this.#agents = agents;
    this.#listener = listener;
  }

  begin(prompt: string): void {
    this.#estimate.begin(prompt);
  }

  /** For the brakes, which act in mid-turn. */
  read(update: JsonObject): void {
    const before = this.#soFar().total;
    this.#estimate.read(update);
    const least = this.#soFar();
    if (least.total <= before) return;
    if (this.#countsItself && this.#countsLate) this.#listener.say(estimatedSoFar);
    this.#listener.total(addTokens(this.#counted, least));
  }

  /** Counts a turn. `result` is null for one that ended without an answer, which cost tokens all the same. */
  ended(result: JsonObject | null): void {
    const reported = readUsage(result);
    const least = this.#estimate.reported();
    const isPart = this.#agents.has("opencode") && this.#estimate.requests > 1;
    const isEnough = reported !== null && !isPart && reported.total >= least.total;
    const used = isEnough ? reported : larger(reported, this.#estimate.estimate());
    if (used.total === 0) return;
    if (reported === null && result !== null) this.#countsItself = false;
    if (!isEnough && used !== reported) this.#listener.say(estimated(reported, result));
    this.#counted = addTokens(this.#counted, used);
    this.#listener.total(this.#counted);
  }

  /** gemini and opencode report nothing before the end of a turn. */
  get #countsLate(): boolean {
    return this.#agents.has("gemini") || this.#agents.has("opencode");
  }

  #soFar(): Tokens {
    const isGuessed = this.#countsLate || !this.#countsItself;
    return isGuessed ? this.#estimate.guessed() : this.#estimate.reported();
  }
}

function larger(a: Tokens | null, b: Tokens): Tokens {
  return a !== null && a.total >= b.total ? a : b;
}

/** The notice that a turn in progress is estimated. */
const estimatedSoFar =
  "the agent reports no tokens in mid-turn: until the end of a turn they are estimated from what it shows, and the token brakes use the estimate";

/** The notice that a turn is estimated: `reported` is what the agent counts of it, `result` its answer. */
function estimated(reported: Tokens | null, result: JsonObject | null): string {
  const isPart = reported !== null;
  const what = isPart
    ? "the agent reports only a part of its tokens"
    : result === null || result["stopReason"] === "cancelled"
      ? "the agent does not report the tokens of a turn that was cut short"
      : "the agent does not report its tokens";
  return `${what}: they are estimated from what it shows, and the token brakes use the estimate`;
}
