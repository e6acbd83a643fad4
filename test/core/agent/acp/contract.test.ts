import { agentDoubles } from "../../../support/worlds/agent-doubles.ts";
import { acp } from "../abilities.ts";
import { agentContract } from "../contract.ts";

agentContract({ abilities: acp, make: agentDoubles.acp.make, double: "acp" });
