// `symphony watch` on a real terminal. D9, D11, D12, D14, D15, D16 and D24 are rows of the cases of the desk.

import assert from "node:assert/strict";
import { test } from "node:test";
import { type ApiDouble, startApiDouble } from "../support/fakes/api-double.ts";
import { symphony } from "../support/worlds/run-symphony.ts";
import { eventually } from "../support/worlds/symphony.ts";
import { noTmux, Tmux } from "../support/worlds/tmux.ts";

const skip = noTmux;
const esc = "\u001b";
const modeChange = new RegExp(`${esc}\\[\\?(\\d+)([hl])`, "g");
const colour = new RegExp(`${esc}\\[[\\d;]*m`, "g");
/** Mouse reports and paste mode; questions for colours, the device, its name or the cursor's place. */
const unwanted = new RegExp(
  `${esc}\\[\\?(9|100\\d|1015|1016|2004)h|${esc}\\][^\u0007]*\\?|${esc}\\[>?\\d*[cnq]`,
);

/** A terminal with a running watch of the server. */
async function watching(
  api: ApiDouble,
  { env = {}, before = "", ...size }: Parameters<typeof Tmux.start>[0] & { before?: string } = {},
): Promise<Tmux> {
  const terminal = await Tmux.start({ ...size, env: { ...env, SYMPHONY_URL: api.url } });
  await terminal.symphony("watch", before);
  return terminal;
}

const isLive = (screen: string) => /^live .*\n(.*\n)*[> ] ENG-1 +Fix/.test(screen);
const hasEnded = (screen: string) => /^ended \d+, \w+\nready\$/m.test(screen);

/** Modes that the bytes leave on, in the order in which they were set. */
function modesLeft(raw: string): readonly string[] {
  const left = new Set<string>();
  for (const [, mode = "", way] of raw.matchAll(modeChange)) {
    // Cursor and wrapping are on by default.
    const isDefault = (["25", "7"].includes(mode) ? "h" : "l") === way;
    if (isDefault) left.delete(mode);
    else left.add(mode);
  }
  return [...left];
}

const ends: readonly {
  readonly name: string;
  readonly ended: RegExp;
  end(terminal: Tmux, api: ApiDouble): Promise<unknown>;
}[] = [
  { name: "q", ended: /^ended 0, same/m, end: (terminal) => terminal.type("q") },
  { name: "Ctrl-C", ended: /^ended 130, same/m, end: (terminal) => terminal.key("C-c") },
  {
    name: "SIGTERM",
    ended: /^ended 130, same/m,
    end: async ({ pid }) => process.kill(pid, "SIGTERM"),
  },
  {
    name: "SIGHUP",
    ended: /^ended 130, same/m,
    end: async ({ pid }) => process.kill(pid, "SIGHUP"),
  },
  {
    name: "an exception while it draws",
    ended: /^symphony: (.*\n)+ended 1, same/m,
    async end(_, api) {
      api.shape = (state) => ({
        ...state,
        running: [{ issue_identifier: "ENG-1", turn_count: 1 }],
      });
      api.publish({});
    },
  },
  {
    name: "q after the server was lost",
    ended: /^ended 0, same/m,
    async end(terminal, api) {
      await api[Symbol.asyncDispose]();
      await terminal.until("it says so", (screen) => screen.startsWith("disconnected, as of "));
      await terminal.type("q");
    },
  },
  {
    name: "q with mouse reports behind it",
    ended: /^ended 0, same/m,
    end: (terminal) => terminal.bytes(`q${esc}[<35;10;10M${esc}[<35;11;10M`),
  },
];

for (const { name, ended, end } of ends) {
  test(`D9: the terminal is as it was after ${name}`, { skip }, async () => {
    await using api = await startApiDouble();
    await using terminal = await watching(api);
    await terminal.until("it is live", isLive);
    await end(terminal, api);
    const screen = await terminal.until("it has ended", hasEnded);
    assert.match(screen, ended);
    assert.equal(screen.split("\n").at(-1), "ready$");
    const raw = await eventually("all bytes are there", async () =>
      /ended \d+/.test(terminal.raw) ? terminal.raw : null,
    );
    const [, own] = raw.split(`${esc}[?1049h`);
    assert.ok(own);
    assert.deepEqual(modesLeft(raw), []);
    assert.ok(!own.includes(`${esc}[3J`), "D11: the history of the terminal stays");
    assert.doesNotMatch(own, unwanted, "D14: the terminal is asked nothing");
  });
}

test("D11: a terminal without a size counts as 80x24", { skip }, async () => {
  await using api = await startApiDouble();
  await using terminal = await watching(api, { before: "stty cols 0 rows 0;" });
  const screen = await terminal.until("it is live", isLive);
  assert.equal(screen.split("\n").length, 24);
  assert.ok(!hasEnded(screen));
});

test("D11: one row or 20 columns say so in one line; after each size everything stands once; the history stays", {
  skip,
}, async () => {
  await using api = await startApiDouble();
  await using terminal = await watching(api, { before: "seq 1001 1100;" });
  await terminal.until("it is live", isLive);
  for (const [columns, rows] of [
    [20, 30],
    [100, 1],
  ] as const) {
    await terminal.resize(columns, rows);
    const small = await terminal.until("it says so", (screen) => screen.startsWith("too small"));
    assert.equal(small.split("\n").length, 1, small);
  }
  for (const columns of [200, 60, 20, 120]) await terminal.resize(columns, 30);
  const screen = await terminal.until("it is drawn for the last size", (one) => {
    const keys = one.split("\n").at(-1) ?? "";
    return isLive(one) && /^Enter show .* q quit$/.test(keys);
  });
  assert.equal(screen.match(/ENG-1/g)?.length, 1, screen);
  assert.equal(screen.match(/^Running 1$/gm)?.length, 1, screen);
  await terminal.type("q");
  await terminal.until("it has ended", hasEnded);
  const history = (await terminal.history()).split("\n");
  const numbers = history.filter((line) => /^1\d{3}$/.test(line)).map(Number);
  assert.deepEqual(
    numbers,
    Array.from({ length: 100 }, (_, index) => 1_001 + index),
  );
});

test("D12: behind titles of any characters the columns stand in line on the terminal", {
  skip,
}, async () => {
  await using api = await startApiDouble();
  const titles = [
    "⚠️ sign",
    "漢字の題名",
    "family 👩‍👩‍👧 here",
    "e\u0301 accent",
    "עברית right to left",
  ];
  const odd = [...titles, "a\ttab, a\rreturn", `red ${esc}[31m and ${esc}[2J gone`, "plain"];
  api.shape = (state) => {
    const [row] = state.running;
    const running = odd.map((title, index) => ({
      ...{ ...row, title, issue_identifier: `ENG-${index + 1}` },
    }));
    return { ...state, running, counts: { ...state.counts, running: odd.length } };
  };
  await using terminal = await watching(api);
  const screen = await terminal.until("it is there", (one) => one.includes("ENG-8"));
  assert.match(screen, /red ␛\[31m and ␛\[2J gone/);
  assert.match(screen, /a tab, a␍return/);
  const columns = await terminal.columnsOf("reading the code", odd.length);
  assert.deepEqual(new Set(columns).size, 1, `${columns}\n${screen}`);
});

test("D14: late answers of a terminal, in three pieces, are no keys", { skip }, async () => {
  await using api = await startApiDouble();
  await using terminal = await watching(api);
  await terminal.until("it is live", isLive);
  const answers = `${esc}]10;rgb:qqqq/aaaa/ssss${esc}\\${esc}]11;rgb:0/a/r\u0007${esc}[?62;22c`;
  for (const piece of [answers.slice(0, 13), answers.slice(13, 42), answers.slice(42)]) {
    await terminal.bytes(piece);
  }
  await terminal.type("?");
  await terminal.until("the next key acts alone", (screen) => screen.includes("Ctrl-L"));
  assert.equal(api.seen.filter(({ method }) => method === "POST").length, 0);
  await terminal.type("x");
  await terminal.until("it still runs", isLive);
});

test("D15: NO_COLOR loses no word, and no byte of it is a colour", { skip }, async () => {
  await using api = await startApiDouble();
  await using terminal = await watching(api, { env: { NO_COLOR: "1" } });
  await terminal.until("it is live", isLive);
  const own = await eventually("its bytes are there", async () => {
    const [, bytes] = terminal.raw.split(`${esc}[?1049h`);
    return bytes?.includes("Running 1") ? bytes : null;
  });
  assert.doesNotMatch(own, colour);
});

test("D15: TERM=dumb gets lines, without any sequence", { skip }, async () => {
  await using api = await startApiDouble();
  await using terminal = await watching(api, { before: "export TERM=dumb;" });
  const screen = await terminal.until("it lists", (one) => one.includes("Type ? and Enter"));
  assert.match(screen, /^Running: 1\n {2}ENG-1 Fix the login page: reading the code; /m);
});

test("D16: ACCESSIBLE=1 appends a line for each change of state, and none for tokens", {
  skip,
}, async () => {
  await using api = await startApiDouble();
  await using terminal = await watching(api, { env: { ACCESSIBLE: "1" }, rows: 60 });
  await terminal.until("it lists", (one) => one.includes("Type ? and Enter"));
  await api.streams(1);
  for (let count = 0; count < 1_000; count += 1) api.publish({ type: "agent.tokens" });
  for (const type of ["held", "review", "failed", "completed"] as const) {
    api.publish({ type: `issue.${type}`, message: `now ${type}` });
  }
  const screen = await terminal.until("the last one is there", (one) => one.includes("completed"));
  const [, said = ""] = screen.split("for the commands.\n");
  const wanted = ["held", "review", "failed", "completed"].map((one) => `ENG-1  now ${one}`);
  assert.deepEqual(said.trimEnd().split("\n"), wanted);
  await terminal.type("a ENG-1");
  await terminal.key("Enter");
  await terminal.until("it asks", (one) => /Stop ENG-1\?.*\n {2}1 yes/.test(one));
  await terminal.type("1");
  await terminal.key("Enter");
  await terminal.until("it is accepted", (one) => one.includes("ENG-1: accepted"));
  await terminal.type("q");
  await terminal.key("Enter");
  await terminal.until("it has ended", (one) => one.includes("ended 0, same"));
  const [, own = ""] = terminal.raw.split("Running: 1");
  const lines = own.split("ended 0")[0] ?? "";
  assert.ok(!lines.replaceAll(colour, "").includes(esc), JSON.stringify(lines));
});

test("D24: an action looks pending until its event; Enter twice and a lost reply have one effect", {
  skip,
}, async () => {
  await using api = await startApiDouble();
  await using terminal = await watching(api);
  await terminal.until("it is live", isLive);
  await api.streams(1);
  const reply = Promise.withResolvers<void>();
  // It may be rejected before the request has arrived.
  reply.promise.catch(() => {});
  api.hold = () => reply.promise;
  await terminal.type("sgo left");
  await terminal.bytes("\r\r");
  await terminal.until("it looks pending", (one) => one.includes("sending guidance …"));
  reply.reject(new Error("the reply is lost"));
  await terminal.until("it says so", (one) => one.includes("refused: the server did not answer"));
  api.hold = async () => {};
  // Enter twice opened the issue; its draft is still there.
  await terminal.type("s");
  await terminal.until("the draft is there", (one) => one.includes("Guidance for ENG-1: go left_"));
  await terminal.key("Enter");
  const steers = () => api.seen.filter(({ path }) => path.endsWith("/steer"));
  await eventually("it was sent again", async () => steers().length === 2);
  await terminal.until("it waits for the event", (one) => one.includes("sending guidance …"));
  const keys = steers().map(({ headers }) => headers["idempotency-key"]);
  assert.equal(new Set(keys).size, 1);
  assert.ok(keys[0]);
  api.publish({ type: "steer.delivered" });
  await terminal.until("it is over", (one) => !one.includes("sending guidance"));
});

test("D24: the reason of a refusal stands in the row", { skip }, async () => {
  await using api = await startApiDouble();
  await using terminal = await watching(api);
  await terminal.until("it is live", isLive);
  api.status = "held";
  await terminal.type("ay");
  const refused = /ENG-1 .*\n(.*\n)? {4}refused: refused with not_running/;
  await terminal.until("the reason is there", (one) => refused.test(one));
  await terminal.key("Escape");
  await terminal.until("it was read", (one) => isLive(one) && !one.includes("refused"));
});

test("it never shows stale for live, comes back by itself, and reads everything again", {
  skip,
}, async () => {
  let api = await startApiDouble();
  try {
    await using terminal = await watching(api);
    await terminal.until("it is live", isLive);
    await api.streams(1);
    api.shape = () => {
      throw new Error("no state");
    };
    api.publish({});
    await terminal.until("it is stale", (one) => /^stale since \d\d:\d\d:\d\d /.test(one));
    api.shape = (state) => state;
    await terminal.until("it is live again", isLive);
    const { port } = new URL(api.url);
    await api[Symbol.asyncDispose]();
    await terminal.until("it is lost", (one) => /^disconnected, as of \d\d:\d\d:\d\d /.test(one));
    // Another data directory: numbers begin anew.
    api = await startApiDouble(Number(port));
    api.title = "Fixed elsewhere";
    await terminal.until(
      "it is read again",
      (one) => one.startsWith("live ") && one.includes("Fixed elsewhere"),
    );
    const last = api.seen.find(({ path }) => path.startsWith("/api/v1/events"));
    assert.ok(last?.headers["last-event-id"] !== undefined);
  } finally {
    await api[Symbol.asyncDispose]();
  }
});

test("without a terminal, and with --json, it names the commands for scripts", async () => {
  for (const args of [["watch"], ["watch", "--json"]]) {
    const { code, stdout, stderr } = await symphony(args);
    assert.deepEqual([code, stdout], [2, ""]);
    assert.match(stderr, /state --watch --json .*events --follow/);
  }
});
