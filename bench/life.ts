import { setTimeout as delay } from "node:timers/promises";
import { report, residentMb, summary, wrk } from "./kit.ts";
import { stopped, Workshop } from "./served.ts";

// The life of a server without agents: its start from the bundle, its memory at rest, its end under load.

const rounds = 9;

using workshop = new Workshop();
const bin = workshop.built();
const dir = await workshop.project("idle");
const starts: number[] = [];
for (let round = 0; round <= rounds; round++) {
  const server = await workshop.serve(bin, dir);
  // The first fills the compile cache.
  if (round > 0) starts.push(server.startMs);
  await stopped(server);
}
report({
  name: "start to first 200",
  ...summary(starts),
  unit: "ms",
  aim: { atMost: 250 },
  note: `best ${Math.min(...starts).toFixed(0)}`,
});
const server = await workshop.serve(bin, dir);
await delay(2_000);
report({
  name: "resident at rest",
  value: residentMb(server.pid),
  unit: "MB",
  aim: { atMost: 95 },
});
await wrk({ url: `${server.url}/api/v1/state`, seconds: 10 });
const ended = await stopped(server);
report({ name: "SIGTERM after 10 s of load", value: ended, unit: "ms", aim: { atMost: 1_000 } });
