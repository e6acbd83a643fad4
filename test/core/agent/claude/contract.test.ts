import { agentDoubles } from "../../../support/worlds/agent-doubles.ts";
import { claude } from "../abilities.ts";
import { agentContract } from "../contract.ts";

agentContract({ abilities: claude, make: agentDoubles.claude.make, double: "claude" });
