import { createSocket } from "node:dgram";
import { once } from "node:events";
import { launch } from "../worlds/symphony.ts";

// Serves DIR with a name server that never answers, and stops the server after its first query. Prints its exit code and how
// many ms the stop took.

const [dir = ""] = process.argv.slice(2);
const names = createSocket("udp4");
names.bind(53, "127.0.0.1");
await once(names, "listening");
const env = { HOME: dir, LINEAR_API_KEY: "lin_api_x" };
const child = launch({ cwd: dir, env }, ["serve", "--port", "0"]);
await once(names, "message");
const asked = performance.now();
child.kill("SIGTERM");
const [code] = await once(child, "exit");
process.stdout.write(`${code}\n${Math.round(performance.now() - asked)}\n`);
names.close();
