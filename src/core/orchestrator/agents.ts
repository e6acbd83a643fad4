import type { AgentTrouble } from "../model/gates.ts";
import { type Decision, decided } from "./decision.ts";
import { troubleText } from "./gates.ts";
import { without } from "./issues.ts";
import type { Effect, Input } from "./messages.ts";
import { type State, setIn } from "./state.ts";

/**
 * An agent was checked without being started. While something keeps it from starting, nothing new is started with it; its
 * live attempts continue. Once that is mended, a pause after a failed start is over too.
 */
export function agentChecked(
  state: State,
  { agent, trouble }: Extract<Input, { type: "agent.checked" }>,
): Decision {
  const known = state.troubles.get(agent) ?? null;
  if (trouble === null) {
    if (known === null) return decided(state);
    const next = { ...state, troubles: without(state.troubles, agent) };
    return decided(next, tellOf("agent.available", `${agent} can be started again`, { agent }));
  }
  const kept: AgentTrouble = { ...trouble, sinceWall: known?.sinceWall ?? trouble.sinceWall };
  const next = { ...state, troubles: setIn(state.troubles, agent, kept) };
  if (known?.code === kept.code && known.detail === kept.detail) return decided(state);
  const { code } = kept;
  return decided(next, tellOf("agent.unavailable", troubleText(agent, kept), { agent, code }));
}

function tellOf(
  type: "agent.available" | "agent.unavailable",
  message: string,
  data: Readonly<Record<string, unknown>>,
): Effect {
  return { type: "publish", event: { type, message, data } };
}
