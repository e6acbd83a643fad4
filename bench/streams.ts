import { once } from "node:events";
import { Agent, request } from "node:http";
import { connect, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { report, residentMb, wrk } from "./kit.ts";
import { stopped, Workshop } from "./served.ts";

// Memory: a thousand event streams whose clients do not read, and the server one minute after load.

const clients = 1_000;
const changes = 4_000;

using workshop = new Workshop();
const bin = workshop.built();
const dir = await workshop.project("streams", { issues: 5 });
const server = await workshop.serve(bin, dir);
const agent = new Agent({ keepAlive: true, maxSockets: 8 });
const { hostname, port } = new URL(server.url);
// The same work once without streams: what it takes by itself is not theirs.
await work();
const sockets = await Promise.all(Array.from({ length: clients }, () => subscribed()));
await delay(2_000);
const before = residentMb(server.pid);
const most = await work();
const open = sockets.filter(({ readyState }) => readyState === "open").length;
report({
  name: "1,000 streams that nothing reads",
  value: most - before,
  unit: "MB",
  aim: { atMost: 64 },
  note: `${before.toFixed(0)} to ${most.toFixed(0)} MB after ${changes} changes; ${open} are open to their client`,
});
for (const socket of sockets) socket.destroy();
await wrk({ url: `${server.url}/api/v1/state`, seconds: 15 });
await wrk({ url: `${server.url}/api/v1/audit`, seconds: 15 });
const loaded = residentMb(server.pid);
await delay(60_000);
report({
  name: "resident one minute after load",
  value: residentMb(server.pid),
  unit: "MB",
  aim: { atMost: 160 },
  note: `${loaded.toFixed(0)} MB at its end`,
});
agent.destroy();
await stopped(server);

/** Resolves with the most memory that was seen. */
async function work(): Promise<number> {
  let most = 0;
  for (let done = 0; done < changes; done += 40) {
    for (const what of ["resume", "pause"]) await Promise.all(repeated(20, () => change(what)));
    most = Math.max(most, residentMb(server.pid));
  }
  return most;
}

/** A client that asks for the stream and reads nothing of it. */
async function subscribed(): Promise<Socket> {
  const socket = connect({ host: hostname, port: Number(port) });
  await once(socket, "connect");
  socket.pause();
  const headers = Object.entries(server.headers).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.write(`GET /api/v1/events HTTP/1.1\r\nhost: ${hostname}\r\n${headers.join("")}\r\n`);
  socket.on("error", () => {});
  return socket;
}

function repeated<T>(times: number, work: () => T): T[] {
  return Array.from({ length: times }, work);
}

async function change(what: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const headers = { ...server.headers, "content-type": "application/json" };
  request({ host: hostname, port, path: `/api/v1/${what}`, method: "POST", headers, agent })
    .on("error", reject)
    .on("response", (response) => {
      response.resume().on("end", resolve);
    })
    .end("{}");
  await promise;
}
