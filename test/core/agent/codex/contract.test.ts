import { agentDoubles } from "../../../support/worlds/agent-doubles.ts";
import { codex } from "../abilities.ts";
import { agentContract } from "../contract.ts";

agentContract({ abilities: codex, make: agentDoubles.codex.make, double: "codex" });
