import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { cpuMs, foreignCpu, report, summary, wrk } from "./kit.ts";
import { type Running, stopped, Workshop } from "./served.ts";

// Reads of the API, each against a bare node:http server that sends the same bytes in the same run. Both are measured by wrk,
// in turns, so that a change of the machine's speed affects both.

const rounds = 5;
const seconds = 2;

interface Case {
  readonly name: string;
  readonly path: string;
  /** Of the bare server's rate. */
  readonly atLeast: number;
  /** With the tag of the answer: only a 304 is sent. */
  readonly isKnown?: boolean;
}

async function compare(one: Case, server: Running, bare: string): Promise<void> {
  const { name, path, atLeast, isKnown = false } = one;
  const url = server.url + path;
  const answer = await fetch(url);
  const body = isKnown ? "" : await answer.text();
  await fetch(bare + path, { method: "PUT", body });
  const tag = answer.headers.get("etag");
  if (isKnown && tag === null) throw new Error(`${path} has no tag`);
  const headers = isKnown && tag !== null ? { "if-none-match": tag } : {};
  await wrk({ url, seconds: 1, headers });
  const ratios: number[] = [];
  const before = cpuMs(server.pid);
  let made = 0;
  const { percent } = await foreignCpu([server.pid], async () => {
    for (let round = 0; round < rounds; round++) {
      const own = await wrk({ url, seconds, headers });
      made += own * seconds;
      ratios.push(own / (await wrk({ url: bare + path, seconds })));
    }
  });
  const cost = ((cpuMs(server.pid) - before) * 1_000) / made;
  report({
    ...{ name, ...summary(ratios), unit: "x", aim: { atLeast } },
    note: `${cost.toFixed(0)} µs of CPU each; others ${percent.toFixed(0)} %`,
  });
}

using workshop = new Workshop();
const bin = workshop.built();
const bare = fork(fileURLToPath(new URL("bare-server.ts", import.meta.url)));
const [bareUrl] = await once(bare, "message");
const dirs = [
  await workshop.project("small", { issues: 5, auditEntries: 10_000 }),
  await workshop.project("large", { issues: 1_000 }),
];
const [small, large] = await Promise.all(dirs.map((dir) => workshop.serve(bin, dir)));
try {
  if (!small || !large) throw new Error("the servers did not start");
  const state = { name: "state, 5 issues", path: "/api/v1/state", atLeast: 0.4 };
  const many = { name: "state, 1,000 issues", path: "/api/v1/state?limit=1000", atLeast: 0.4 };
  await compare(state, small, bareUrl);
  await compare({ ...state, name: "state, 304", atLeast: 0.5, isKnown: true }, small, bareUrl);
  await compare(many, large, bareUrl);
  await compare({ name: "one issue", path: "/api/v1/local-2", atLeast: 0.4 }, small, bareUrl);
  const audit = { name: "audit, 50 of 10,000", path: "/api/v1/audit?limit=50", atLeast: 0.3 };
  await compare(audit, small, bareUrl);
  await compare({ name: "metrics", path: "/metrics", atLeast: 0.2 }, small, bareUrl);
  const openapi = { name: "openapi.json", path: "/api/v1/openapi.json", atLeast: 0.6 };
  await compare(openapi, small, bareUrl);
} finally {
  bare.disconnect();
  await Promise.all([small, large].flatMap((one) => (one ? [stopped(one)] : [])));
}
