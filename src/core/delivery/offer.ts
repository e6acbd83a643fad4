import { normalState } from "../model/issue.ts";
import type { OfferOrder } from "../orchestrator/messages.ts";
import type { Delivered } from "./delivered.ts";
import type { Entry, Feedback, NewEntry } from "./store.ts";
import { answersIn, replyText } from "./wording.ts";

interface Known {
  readonly known: Delivered;
  readonly mode: Delivered["mode"];
  /** What the attempt was asked, in the order in which it was given. */
  readonly given: readonly Feedback[];
  /** The last message of its agent. */
  readonly said: string | null;
  /** Now, ms since the epoch. */
  readonly wall: number;
}

/** What a delivery is once the work of an attempt is offered, and the writes that bring it to its person. */
export function offerOf(
  order: OfferOrder,
  { known, mode: wanted, given, said, wall }: Known,
): { readonly next: Delivered; readonly entries: readonly NewEntry[] } {
  const { issue, attemptId } = order;
  const head = order.head ?? known.head;
  // Without a commit there is no branch to push.
  const mode = head === null ? "none" : wanted;
  const next: Delivered = {
    ...known,
    issue,
    issueIdentifier: issue.identifier,
    attemptId,
    mode,
    head,
    from: order.from ?? known.from,
    workspacePath: order.workspacePath ?? known.workspacePath,
    offeredAt: wall,
    problem: null,
    problemWith: null,
    over: mode === "none",
    waitingFor: mode === "none" ? "a person to look at it" : "its branch to be pushed",
  };
  const target = `delivery:${issue.id}`;
  const entry = (kind: string, key: string, payload: Entry["payload"]): NewEntry => ({
    ...{ kind, target, issueId: issue.id, payload },
    key: `${kind}:${issue.id}:${key}`,
  });
  const isNew = mode !== "none";
  // An order that is repeated gets keys of its own: an earlier one may have been refused for good.
  const again = order.head === null ? attemptId : `${attemptId}:${head}`;
  const entries = [
    ...(isNew ? [entry("push", again, { commit: head })] : []),
    ...(isNew && mode === "pull_request" ? [entry("pull_request", again, { commit: head })] : []),
    ...repliesOf(next, order, { given, said, entry }),
    ...(order.moves ? [entry("move", attemptId, { from: normalState(issue.state), mode })] : []),
  ];
  return { next, entries };
}

type MakeEntry = (kind: string, key: string, payload: Entry["payload"]) => NewEntry;

function repliesOf(
  { pullRequest }: Delivered,
  { head }: OfferOrder,
  { given, said, entry }: Pick<Known, "given" | "said"> & { readonly entry: MakeEntry },
): readonly NewEntry[] {
  if (pullRequest === null) return [];
  const answers = answersIn(said, given.length);
  return given.flatMap(({ replyTo, source, hash }, at) => {
    if (replyTo === null) return [];
    const body = replyText(answers.get(at + 1), head);
    const reply = entry("reply", `${source}:${hash}`, { remark: replyTo, body, commit: head });
    // An answer that waits for its commit must not stand before that commit's push.
    return [{ ...reply, target: `answers:${reply.issueId}` }];
  });
}
