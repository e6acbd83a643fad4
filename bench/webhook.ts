import { fork } from "node:child_process";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:net";
import { loadavg } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { connections, cpuMs, median, report, summary } from "./kit.ts";
import { secret, stopped, Workshop } from "./served.ts";

// Signed deliveries that are on disk when they are answered, against a bare server with the same duties on the same disk.
// The client writes requests that were made before over open sockets, so that it is faster than both.

const rounds = Number(process.argv[2] ?? 5);
/** Below the limit of a minute with those that are not counted; each round has servers of its own. */
const count = 500;
/** So that both run what is compiled: as many as the limit leaves, and with a wrong signature as many as it takes. */
const warming = 80;
const refused = 2_000;

function requests(round: string, length: number, key = secret): Buffer[] {
  return Array.from({ length }, (_, made) => {
    const data = { id: `bench-${round}-${made}`, identifier: "BENCH-1" };
    const event = { type: "Issue", action: "update", webhookTimestamp: Date.now(), data };
    const body = JSON.stringify(event);
    const signature = createHmac("sha256", key).update(body).digest("hex");
    const lines = [
      "POST /webhooks/linear HTTP/1.1",
      "Host: 127.0.0.1",
      "Content-Type: application/json",
      `Linear-Signature: ${signature}`,
      `Content-Length: ${Buffer.byteLength(body)}`,
    ];
    return Buffer.from(`${lines.join("\r\n")}\r\n\r\n${body}`);
  });
}

interface Measured {
  readonly rate: number;
  /** Of the server, for each delivery. */
  readonly cpuMs: number;
}

async function deliveries(
  url: string,
  pid: number,
  made: readonly Buffer[],
  expected = /^HTTP\/1.1 200/,
): Promise<Measured> {
  let next = 0;
  const line = async () => {
    const socket = connect(Number(new URL(url).port), "127.0.0.1");
    await once(socket, "connect");
    socket.setNoDelay(true);
    while (next < made.length) {
      socket.write(made[next++] ?? "");
      const [answer] = (await once(socket, "data")) as [Buffer];
      const head = answer.toString("latin1");
      if (!expected.test(head)) throw new Error(`a delivery got ${head.slice(0, 300)}`);
    }
    socket.destroy();
  };
  const before = cpuMs(pid);
  const started = performance.now();
  await Promise.all(Array.from({ length: connections }, line));
  const seconds = (performance.now() - started) / 1_000;
  return { rate: made.length / seconds, cpuMs: (cpuMs(pid) - before) / made.length };
}

async function measured(url: string, pid: number, round: number): Promise<Measured> {
  await deliveries(url, pid, requests(`wrong-${round}`, refused, "wrong"), /^HTTP\/1.1 4(01|29)/);
  await deliveries(url, pid, requests(`warm-${round}`, warming));
  for (let last = -1; last !== cpuMs(pid); await delay(300)) last = cpuMs(pid);
  return deliveries(url, pid, requests(String(round), count));
}

/** The baseline, on a disk and with a process of its own in each round, as the server has. */
async function bareRound(round: number): Promise<Measured> {
  const file = join(workshop.dir, `bare-${round}.db`);
  const bare = fork(fileURLToPath(new URL("bare-webhook.ts", import.meta.url)), [file, secret]);
  const [url] = await once(bare, "message");
  const result = await measured(url, bare.pid ?? 0, round);
  bare.disconnect();
  await once(bare, "exit");
  return result;
}

using workshop = new Workshop();
const bin = workshop.built();
const own: Measured[] = [];
const base: Measured[] = [];
for (let round = 0; round <= rounds; round++) {
  const server = await workshop.serve(bin, await workshop.project(`round-${round}`));
  const ours = await measured(server.url, server.pid, round);
  await stopped(server);
  const theirs = await bareRound(round);
  // The first one is not counted.
  if (round > 0) own.push(ours);
  if (round > 0) base.push(theirs);
}
const rate = (all: readonly Measured[]) => median(all.map((one) => one.rate)).toFixed(0);
const cpu = (all: readonly Measured[]) => median(all.map((one) => one.cpuMs)).toFixed(2);
const shares = own.map((one, at) => one.rate / (base[at]?.rate ?? Number.NaN));
report({
  name: "webhook, on disk before its 200",
  ...summary(shares),
  unit: "x",
  aim: { atLeast: 0.5 },
  note: `${rate(own)}/s of ${rate(base)}/s, CPU ${cpu(own)} and ${cpu(base)} ms, load ${loadavg()[0]?.toFixed(1)}`,
});
