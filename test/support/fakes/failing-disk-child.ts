import { cpSync, mkdirSync, mkdtempSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../../src/core/clock.ts";
import { openDeliveryStore } from "../../../src/core/delivery/store.ts";
import { Members } from "../../../src/core/fleet/members.ts";
import { readToken } from "../../../src/core/fleet/sealing.ts";
import { SymphonyError } from "../../../src/core/model/errors.ts";
import { NoticeStore } from "../../../src/core/notify/store.ts";
import { openStore } from "../../../src/core/open.ts";
import { openSecrets } from "../../../src/core/secrets/secrets.ts";
import { Book } from "../../../src/core/ssh/book.ts";
import { createRedactor } from "../../../src/core/text/redact.ts";
import { openDeliveries } from "../../../src/core/tracker/deliveries.ts";
import { openLocalIssues } from "../../../src/core/tracker/local/issues.ts";
import { attempt, record, steer } from "../makers/storage.ts";

// Writes to every store of a data directory on a disk that refuses one kind of call, and prints as JSON what each store
// then says, and what a start finds that is killed at this moment.

const [dir = "", switchFile = ""] = process.argv.slice(2);

/** A store that keeps one value, as its callers see it. */
interface Cell {
  write(value: string): unknown;
  /** What is in force. */
  read(): string | null;
  close?(): unknown;
}

const kinds: Readonly<Record<string, (dir: string) => Promise<Cell> | Cell>> = {
  async record(at) {
    const store = await openStore(at);
    return {
      write: (model) => store.records.put("id", record("ENG-1", { model })),
      read: () => store.records.all().get("id")?.model ?? null,
      close: () => store.close(),
    };
  },
  async attempt(at) {
    const store = await openStore(at);
    return {
      write: (model) => store.history.saveAttempt(attempt("att_1", { model })),
      read: () => store.history.attempt("att_1")?.model ?? null,
      close: () => store.close(),
    };
  },
  async steer(at) {
    const store = await openStore(at);
    return {
      write: (id) => store.history.addSteer(steer(id)),
      read: () => store.history.undelivered("id-ENG-1").at(-1)?.id ?? null,
      close: () => store.close(),
    };
  },
  async audit(at) {
    const store = await openStore(at);
    return {
      write: (action) =>
        store.history.audit({
          ...{ at: 1, actor: "api", action, target: null, outcome: "ok", detail: {} },
        }),
      read: () => store.history.auditPage({ limit: 1, offset: 0 }).entries.at(0)?.action ?? null,
      close: () => store.close(),
    };
  },
  async template(at) {
    const { templates, close } = await openStore(at);
    return {
      write: (body) =>
        templates.change(() => [{ id: "a", name: "a", body, createdAt: 0, updatedAt: 0 }]),
      read: () => templates.all()[0]?.body ?? null,
      close,
    };
  },
  async pause(at) {
    const { pause, close } = await openStore(at);
    return {
      write: (reason) => pause.put({ reason, by: "api", sinceWall: 0 }),
      read: () => pause.current()?.reason ?? null,
      close,
    };
  },
  async token(at) {
    const { tokens, close } = await openStore(at);
    return {
      write: (name) => tokens.add({ name, role: "read", untilWall: null }),
      read: () => tokens.all.at(-1)?.name ?? null,
      close,
    };
  },
  async secret(at) {
    const redactor = createRedactor();
    const secrets = await openSecrets({ dir: at, env: {}, clock: systemClock, redactor });
    return { write: (value) => secrets.put("A", value), read: () => secrets.lookup("A") ?? null };
  },
  async fleet(at) {
    const redactor = createRedactor();
    const secrets = await openSecrets({ dir: at, env: {}, clock: systemClock, redactor });
    const members = await Members.open({ dataDir: at, clock: systemClock, secrets });
    return {
      async write(name) {
        const { invitation } = readToken(await members.invite(2e15, 0));
        const asked = { id: name, name, secret: Buffer.alloc(32).toString("base64url"), host: "" };
        const why = await members.admit(invitation, asked, 0);
        if (why !== null) throw new Error(why);
      },
      read: () => members.all.at(-1)?.name ?? null,
    };
  },
  async host(at) {
    const book = await Book.open(at);
    return {
      write: (host) => book.began("att_1", { host, issueId: "id" }),
      read: () => book.hostOf("att_1"),
    };
  },
  outbox(at) {
    const store = openDeliveryStore(at, () => 0);
    return {
      write: (key) => store.add([{ key, target: key, issueId: "id", kind: "push", payload: {} }]),
      read: () => store.waitingOf("id").at(-1)?.key ?? null,
      close: () => store.close(),
    };
  },
  notice(at) {
    const store = new NoticeStore(at);
    return {
      write: (value) => store.beginAt(Number(value.slice(1))),
      read: () => (store.handled() === null ? null : `v${store.handled()}`),
      close: () => store.close(),
    };
  },
  webhook(at) {
    const store = openDeliveries(at);
    store.open();
    return {
      write: (signature) =>
        store.add([
          {
            ...{ signature, kind: "linear", id: signature, type: "Issue", action: "update" },
            ...{ issueId: "id", at: Number(signature.slice(1)), until: 2e12 },
            work: { type: "refresh" } as never,
          },
        ]),
      read: () => store.waiting("linear").at(-1)?.signature ?? null,
      close: () => store.close(),
    };
  },
  issue(at) {
    const options = {
      prefix: "A",
      states: [{ name: "Todo", terminal: false }],
      blockers: { blockerStates: null, terminalStates: new Set<string>(), firstActive: null },
    };
    const store = openLocalIssues(at, options, systemClock);
    return {
      write: (title) => store.create({ title }),
      read: () => store.list().at(-1)?.title ?? null,
      close: () => store.close(),
    };
  },
};

/** The calls of `failing-disk.c`, and EIO or ENOSPC. */
const faults = [
  ["w", 5],
  ["w", 28],
  ["s", 5],
  ["d", 5],
  ["r", 5],
  ["o", 5],
] as const;
const turn = (bytes: readonly number[]) =>
  writeFileSync(switchFile, Buffer.from(bytes), { flag: "r+" });

const found = [];
for (const [name, open] of Object.entries(kinds)) {
  for (const [call, errno] of faults) {
    const at = join(dir, `${name}-${call}-${errno}`);
    mkdirSync(at);
    const cell = await open(at);
    await cell.write("v1");
    turn([call.charCodeAt(0), errno]);
    let refusal: string | null = null;
    try {
      await cell.write("v2");
    } catch (error) {
      refusal = error instanceof SymphonyError ? error.code : String(error);
    }
    const inForce = cell.read();
    turn([0, 0]);
    const killed = mkdtempSync(join(tmpdir(), "symphony-killed-"));
    cpSync(at, killed, { recursive: true });
    const restarted = await open(killed);
    const afterKill = restarted.read();
    await restarted.close?.();
    await cell.write("v3");
    const later = cell.read();
    await cell.close?.();
    found.push({ name, call, errno, refusal, inForce, afterKill, later });
  }
}
writeSync(1, JSON.stringify(found));
