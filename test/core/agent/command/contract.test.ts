import { agentDoubles } from "../../../support/worlds/agent-doubles.ts";
import { command, plain } from "../abilities.ts";
import { agentContract } from "../contract.ts";

agentContract({ abilities: command, make: agentDoubles.command.make, double: "command" });
agentContract({ abilities: plain, make: agentDoubles.plain.make, double: "plain" });
