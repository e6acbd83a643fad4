import { randomBytes } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { followEvents, type StreamEvent } from "../src/client/events.ts";
import { deliveryProject } from "../test/support/makers/delivery-project.ts";
import { gitIn } from "../test/support/makers/git-repository.ts";
import { Served, symphony } from "../test/support/worlds/symphony.ts";

// From the end of a turn to the pushed branch, by the times of the server's own events: `node bench/delivery.ts`. The repository
// has 100 MB in 5,000 files and is on the same disk, so that the way to a remote is not in it; one issue at a time.

const files = 5_000;
const fileBytes = 20_000;
const perDirectory = 100;
const rounds = Number(process.argv[2] ?? 5);
const say = (text: string) => process.stdout.write(`${text}\n`);

/** The files hold random text, so that the packed repository has the same size. */
function fill(bare: string): void {
  const seed = join(dirname(bare), "seed");
  for (let at = 0; at < files; at++) {
    const folder = join(seed, `folder-${Math.floor(at / perDirectory)}`);
    if (at % perDirectory === 0) mkdirSync(folder);
    writeFileSync(join(folder, `file-${at}.bin`), randomBytes(fileBytes));
  }
  const git = gitIn(seed);
  git("add", "--all");
  git("commit", "--quiet", "--message", "all files");
  git("push", "--quiet", bare, "main");
}

await using place = await deliveryProject();
fill(place.bare);
await using server = await Served.start(place);
const leaving = new AbortController();
const stream = followEvents(
  { baseUrl: server.url, token: null },
  {
    since: 0,
    types: ["turn.completed", "work.committed", "branch.pushed"],
    signal: leaving.signal,
  },
);

/** The times of one issue's turn, commit and push, in milliseconds. */
async function nextTimes(): Promise<Map<string, number>> {
  const times = new Map<string, number>();
  for (;;) {
    const { value, done } = await stream.next();
    if (done) throw new Error("the stream ended");
    if (value.kind !== "event") continue;
    const event: StreamEvent = value.event;
    times.set(event.type, Date.parse(event.at));
    if (event.type === "branch.pushed") return times;
  }
}

const committed: number[] = [];
const pushed: number[] = [];
for (let round = 1; round <= rounds; round++) {
  await symphony(place, "issue", "create", "--title", "Greet people by name");
  const times = await nextTimes();
  const ended = times.get("turn.completed") ?? Number.NaN;
  committed.push((times.get("work.committed") ?? Number.NaN) - ended);
  pushed.push((times.get("branch.pushed") ?? Number.NaN) - ended);
}
leaving.abort();
const medianOf = (times: readonly number[]) =>
  times.toSorted((a, b) => a - b)[Math.floor(times.length / 2)];
say(`${files} files, ${(files * fileBytes) / 1e6} MB, ${rounds} turns`);
say(`end of turn to commit: ${medianOf(committed)} ms`);
say(`end of turn to pushed branch: ${medianOf(pushed)} ms`);
