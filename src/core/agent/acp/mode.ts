import type { Approvals } from "../../config/config.ts";
import { messageOf, SymphonyError } from "../../model/errors.ts";
import type { GuardedLaunch } from "../guard/disarm.ts";
import type { Choice } from "./choices.ts";
import type { AcpLink } from "./link.ts";

/** The mode in which agents ask before they act: claude-agent-acp, which does not start in it, and gemini. */
const askingMode = "default";

interface Deps {
  readonly link: AcpLink;
  readonly limitMs: number;
  readonly approvals: Approvals;
  readonly guarded: GuardedLaunch;
  notice(message: string): void;
}

/**
 * Chooses the mode in which the agent asks, so that `agent.approvals` decides and no model of the agent's own. Rejects with
 * `response_error` where that is refused and somebody relies on it; an event tells where there is no such mode.
 */
export async function chooseAskingMode(
  sessionId: string,
  choice: Choice | null,
  { link, limitMs, approvals, guarded, notice }: Deps,
): Promise<void> {
  if (!choice?.offered.includes(askingMode)) {
    // opencode asks by its permissions, which its environment sets.
    if (approvals !== "auto" && !guarded.agents.has("opencode")) notice(decidesItself(approvals));
    return;
  }
  if (choice.current === askingMode) return;
  try {
    await link.request(choice.method, { sessionId, ...choice.params(askingMode) }, limitMs);
  } catch (error) {
    if (!(error instanceof SymphonyError) || error.code !== "response_error") throw error;
    const message = `the agent does not take mode ${askingMode}: ${messageOf(error)}`;
    if (approvals !== "auto") throw new SymphonyError("response_error", message);
    notice(message);
  }
}

function decidesItself(approvals: Approvals): string {
  return `agent.approvals is ${approvals}, and the agent offers no mode in which it asks before it acts: it decides by itself when it asks`;
}
