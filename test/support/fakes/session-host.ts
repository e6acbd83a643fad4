import { existsSync } from "node:fs";
import { join } from "node:path";
import { type AgentDouble, agentDoubles } from "../worlds/agent-doubles.ts";
import { eventually } from "../worlds/symphony.ts";

// A process that holds a session of an agent in the middle of a turn, as a server does: its arguments are the kind and the
// place of a stage. It prints the id of the session's thread once the agent has made the file `up`.

const [, , kind = "", place = ""] = process.argv;
const doubles: Readonly<Record<string, AgentDouble>> = agentDoubles;
const stage = doubles[kind]?.at(JSON.parse(place));
if (!stage) throw new Error(`no double of kind ${kind}`);
const session = await stage.start();
const turn = session.turn("please", { model: null });
await eventually("the agent works", async () => existsSync(join(stage.workspace, "up")));
process.stdout.write(`${session.threadId}\n`);
await turn;
