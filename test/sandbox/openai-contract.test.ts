import { openai } from "../core/agent/abilities.ts";
import { agentContract } from "../core/agent/contract.ts";
import { agentDoubles } from "../support/worlds/agent-doubles.ts";

// In the sandbox, because outside of it the agent never asks.
agentContract({ abilities: openai, make: agentDoubles.openai.make, double: "openai" });
