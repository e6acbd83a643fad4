import assert from "node:assert/strict";
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { type TestContext, test } from "node:test";
import { setImmediate } from "node:timers/promises";
import fc from "fast-check";
import { createBus } from "../../../src/core/events/bus.ts";
import { causedBy } from "../../../src/core/events/causes.ts";
import {
  createLogger,
  type LogFormat,
  type LogLevel,
  type LogSink,
  logEvents,
  rotatingFileSink,
  streamSink,
} from "../../../src/core/events/log.ts";
import { SymphonyError } from "../../../src/core/model/errors.ts";
import { openHistory } from "../../../src/core/store/history.ts";
import { createRedactor } from "../../../src/core/text/redact.ts";
import { FakeClock } from "../../support/fakes/fake-clock.ts";
import { temporaryDir } from "../../support/makers/storage.ts";

function memory(): LogSink & { lines: string[] } {
  const lines: string[] = [];
  return { name: "memory", lines, write: (line) => lines.push(line) };
}

function setUp(options: { format?: LogFormat; level?: LogLevel; sinks?: LogSink[] } = {}) {
  const sink = memory();
  const redactor = createRedactor();
  const logger = createLogger({
    level: options.level ?? "info",
    format: options.format ?? "logfmt",
    sinks: [...(options.sinks ?? []), sink],
    clock: new FakeClock(),
    redact: redactor.redact,
  });
  return { logger, redactor, lines: sink.lines };
}

test("G-2: a record is one line of key=value pairs, or one JSON object", () => {
  const text = setUp();
  text.logger.info("Attempt ended", {
    outcome: "retrying",
    attempt: 2,
    reason: null,
    gone: undefined,
  });
  assert.deepEqual(text.lines, [
    'time=2026-11-23T10:00:00.000Z level=info msg="Attempt ended" outcome=retrying attempt=2 reason=null\n',
  ]);
  const json = setUp({ format: "json" });
  json.logger.warn("Attempt ended", { outcome: "failed", ok: false, list: [1] });
  assert.deepEqual(
    json.lines.map((line) => JSON.parse(line)),
    [
      {
        time: "2026-11-23T10:00:00.000Z",
        level: "warn",
        msg: "Attempt ended",
        outcome: "failed",
        ok: false,
        list: "[1]",
      },
    ],
  );
});

test("G-1: a child logger adds its issue to every record", () => {
  const { logger, lines } = setUp();
  const child = logger
    .child({ issue_id: "a", issue_identifier: "ENG-1" })
    .child({ session_id: "s" });
  child.error("Failed");
  assert.match(lines[0] ?? "", /msg=Failed issue_id=a issue_identifier=ENG-1 session_id=s\n$/);
});

test("a record has the id of the request that is being answered, and none once that has ended", async () => {
  const { logger, lines } = setUp();
  const late = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<void>();
  await Promise.all([
    causedBy("req_1", async () => {
      await setImmediate();
      logger.child({ issue_id: "a" }).error("Failed");
      void late.promise.then(() => {
        logger.info("Later");
        ended.resolve();
      });
    }),
    causedBy("req_2", async () => logger.info("Other")),
  ]);
  late.resolve();
  await ended.promise;
  const facts = lines.map((line) => /msg=(\w+).*?(?: request_id=(\w+))?\n$/.exec(line)?.slice(1));
  assert.deepEqual(facts, [
    ["Other", "req_2"],
    ["Failed", "req_1"],
    ["Later", undefined],
  ]);
});

test("records below the level are not written", () => {
  const { logger, lines } = setUp({ level: "warn" });
  logger.debug("a");
  logger.info("b");
  logger.warn("c");
  logger.error("d");
  assert.equal(lines.length, 2);
});

test("an error is logged with its code, and an unexpected one with its stack, on the same line", () => {
  const { logger, lines } = setUp();
  logger.error("No", { error: new SymphonyError("hook_failed", "exit 1") });
  logger.error("No", { error: new TypeError("oops") });
  assert.match(lines[0] ?? "", /error="exit 1" error_code=hook_failed\n$/);
  assert.match(lines[1] ?? "", /error=oops error_stack="TypeError: oops\\n/);
});

test("G-6: no text can end a line, forge a field or control a terminal", () => {
  const hostile = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.constantFrom(
      "a\nlevel=error msg=forged",
      'x" level=error',
      "\x1b[2J",
      "\u2028",
      "\u009b31m",
      "\ud800",
      "=",
      "",
    ),
  );
  fc.assert(
    fc.property(hostile, hostile, hostile, (message, key, value) => {
      for (const format of ["logfmt", "json"] as const) {
        const { logger, lines } = setUp({ format });
        logger.info(message, { [key]: value, level: "error", msg: "forged", time: "never" });
        const line = lines[0] ?? "";
        assert.equal(lines.length, 1);
        assert.match(line, /^[^\p{Cc}\p{Cf}\u2028\u2029]*\n$/u);
        if (format === "logfmt") assert.match(line, /^time=2026-\S+ level=info msg=/);
        else
          assert.deepEqual(
            [JSON.parse(line).level, JSON.parse(line).time.slice(0, 4)],
            ["info", "2026"],
          );
      }
    }),
    { numRuns: 300 },
  );
});

test("G-3: values have a length limit", () => {
  const { logger, lines } = setUp();
  logger.info("x".repeat(50_000), { body: "y".repeat(50_000), deep: { z: "z".repeat(50_000) } });
  assert.ok((lines[0]?.length ?? 0) < 7_000);
});

test("X-2: known secrets are not written, in any type of value", () => {
  const { logger, redactor, lines } = setUp();
  redactor.add('lin"api_canary');
  const token = 'lin"api_canary';
  const error = new Error(`bad ${token}`);
  logger.info(`a ${token}`, { b: token, c: { token }, d: [token], error });
  assert.doesNotMatch(lines.join(""), /canary/);
});

test("values that cannot be read do not fail the record", () => {
  const { logger, lines } = setUp();
  const loop: unknown[] = [];
  loop.push(loop);
  logger.info("odd", { loop, big: 1n, symbol: Symbol("s"), nan: Number.NaN });
  assert.match(lines[0] ?? "", /loop="\[unreadable\]" big="\[unreadable\]"/);
});

test("G-4: a sink that throws affects no other sink and is reported once on a remaining one", () => {
  let broken = true;
  const sink: LogSink = {
    name: "file",
    write() {
      if (broken) throw new Error("disk is full");
    },
  };
  const { logger, lines } = setUp({ sinks: [sink] });
  logger.info("one");
  logger.info("two");
  broken = false;
  logger.info("three");
  broken = true;
  logger.info("four");
  const messages = lines.map((line) => /msg=("[^"]*"|\S+)/.exec(line)?.[1]);
  const failed = '"Log sink failed"';
  assert.deepEqual(messages, [failed, "one", "two", "three", failed, "four"]);
  assert.match(lines[0] ?? "", /sink=file reason="disk is full"/);
});

test("a stream that is closed or never read loses lines and does not end the process", () => {
  const stream = new PassThrough();
  const { logger, lines } = setUp({ sinks: [streamSink("stderr", stream)] });
  stream.emit("error", new Error("EPIPE"));
  logger.info("one");
  assert.match(lines[0] ?? "", /sink=stderr reason=EPIPE/);

  const stuck = new PassThrough();
  const sink = streamSink("stderr", stuck);
  assert.throws(() => {
    for (let n = 0; n < 100; n++) sink.write("x".repeat(64 * 1024));
  }, /its reader is too slow/);
  assert.ok(stuck.writableLength < 2 * 1024 * 1024);
});

test("G-5, FAULT-18: the log file rotates and keeps a limited number of files, one line per record", (t) => {
  const file = join(temporaryDir(t), "log", "symphony.log");
  const sink = rotatingFileSink({ file, maxBytes: 100, files: 3 });
  t.after(() => sink.close());
  for (let n = 0; n < 40; n++) sink.write(`record number ${n}\n`);
  const dir = join(file, "..");
  assert.deepEqual(readdirSync(dir).sort(), ["symphony.log", "symphony.log.1", "symphony.log.2"]);
  for (const name of readdirSync(dir)) {
    assert.ok(statSync(join(dir, name)).size <= 100);
    assert.equal(statSync(join(dir, name)).mode & 0o077, 0);
  }
  const kept = [`${file}.2`, `${file}.1`, file].flatMap((name) =>
    readFileSync(name, "utf8").split("\n"),
  );
  const numbers = kept.filter((line) => line !== "").map((line) => Number(line.split(" ").at(-1)));
  assert.deepEqual(
    numbers,
    numbers.map((_, index) => 40 - numbers.length + index),
  );
});

test("FAULT-18: a log file that is removed or moved away is created again", (t) => {
  const dir = temporaryDir(t);
  const file = join(dir, "symphony.log");
  const sink = rotatingFileSink({ file });
  t.after(() => sink.close());
  sink.write("one\n");
  rmSync(file);
  sink.write("two\n");
  renameSync(file, join(dir, "elsewhere"));
  sink.write("three\n");
  assert.equal(readFileSync(file, "utf8"), "three\n");
});

test("FAULT-18: an unwritable path is reported, and used again once it is writable", (t) => {
  const dir = join(temporaryDir(t), "log");
  writeFileSync(dir, "a file where the directory must be");
  const sink = rotatingFileSink({ file: join(dir, "symphony.log") });
  t.after(() => sink.close());
  const { logger, lines } = setUp({ sinks: [sink] });
  logger.info("one");
  assert.match(lines[0] ?? "", /Log sink failed/);
  rmSync(dir);
  mkdirSync(dir);
  logger.info("two");
  assert.match(readFileSync(join(dir, "symphony.log"), "utf8"), /msg=two/);
});

test("THREAT-14: a log that is a link is not appended to", (t) => {
  const dir = temporaryDir(t);
  const [file, other] = [join(dir, "symphony.log"), join(dir, ".bashrc")];
  writeFileSync(other, "mine\n");
  symlinkSync(other, file);
  const sink = rotatingFileSink({ file });
  t.after(() => sink.close());
  assert.throws(() => sink.write("one\n"), { code: "ELOOP" });
  assert.equal(readFileSync(other, "utf8"), "mine\n");
});

test("G-1, G-2: bus events are logged with issue, session, outcome and the request that caused them", async (t: TestContext) => {
  const history = openHistory(join(temporaryDir(t), "history.db"));
  const redact = (text: string) => text;
  const bus = createBus({ history, clock: new FakeClock(), redact, onError: assert.ifError });
  t.after(() => {
    bus.close();
    history.close();
  });
  const { logger, lines } = setUp();
  const stop = logEvents(bus, logger);
  const issue = { issueId: "a", issueIdentifier: "ENG-1" };
  bus.publish({
    type: "issue.retrying",
    ...issue,
    message: "Retrying\nlevel=error",
    data: { reason: "worker exited: port_exit", issue_id: "forged", nested: { a: 1 } },
  });
  await causedBy("req_1", async () => {
    bus.publish({ type: "attempt.ended", ...issue, attemptId: "att_1", message: "Ended" });
  });
  bus.publish({ type: "agent.message", ...issue, message: "chatter" });
  bus.flush();
  stop();
  bus.publish({ type: "server.stopping", message: "unheard" });
  bus.flush();
  assert.deepEqual(
    lines.map((line) => line.replace(/^time=\S+ /, "").trim()),
    [
      'level=info msg="Retrying level=error" reason="worker exited: port_exit" issue_id=a event=issue.retrying seq=1 issue_identifier=ENG-1 outcome=retrying',
      "level=info msg=Ended event=attempt.ended seq=2 issue_id=a issue_identifier=ENG-1 attempt_id=att_1 request_id=req_1 session_id=unknown",
    ],
  );
});
