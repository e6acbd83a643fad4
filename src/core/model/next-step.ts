/** What continues an issue that waits for a person. */
export type NextStep = keyof typeof commands;

/** What continues a held issue, where that is not another run: kept with the hold. */
export type HeldNext = Extract<NextStep, "deliver" | "complete" | "look">;

const commands = {
  approve: "respond ISSUE approve",
  answer: 'respond ISSUE "ANSWER"',
  /** It is queued again. */
  requeue: "transition ISSUE queued",
  complete: "transition ISSUE completed",
  /** Refused steps of the delivery are tried again. */
  deliver: "deliver ISSUE",
  /** A person mends it in the workspace. */
  attach: "attach ISSUE",
  leave: "attach ISSUE --done",
  /** The pull request. */
  open: "open ISSUE",
  look: "diff ISSUE",
} as const;

/** The command line of a step, as a person types it: the same in the API, on the command line, on the page and in notices. */
export function nextCommand(step: NextStep, identifier: string): string {
  return `symphony ${commands[step].replace("ISSUE", () => identifier)}`;
}

/** What continues a held issue. */
export function heldStep({
  attached,
  next,
}: {
  readonly attached?: unknown;
  readonly next?: HeldNext | undefined;
}): NextStep {
  return attached ? "leave" : (next ?? "requeue");
}

/** The step of a hold by an earlier release, which has it only in the words of its reason; null: another run. */
export function heldStepIn(reason: string): HeldNext | null {
  if (reason === "done, and waits for a person (tracker.on_success)") return "look";
  const said = reason.split("next: ").at(-1) ?? "";
  const [, step, to] = /symphony (deliver|transition) \S+( completed)?/.exec(said) ?? [];
  if (step === "deliver") return step;
  return to === undefined ? null : "complete";
}

/**
 * The command that answers a request. One that approves names the request, and so does one where further requests wait: it may
 * be typed after the answer of another person, and must not meet the next one.
 */
export function answerCommand(
  identifier: string,
  {
    kind,
    id,
    further,
  }: { readonly kind: unknown; readonly id: string; readonly further: readonly string[] },
): string {
  const command = nextCommand(answerStep(kind), identifier);
  return kind === "approval" || further.length > 0 ? `${command} --id ${id}` : command;
}

/** What answers a question. */
export function answerStep(kind: unknown): NextStep {
  return kind === "approval" ? "approve" : "answer";
}
