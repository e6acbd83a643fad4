import { systemClock } from "../../src/core/clock.ts";
import { SymphonyError } from "../../src/core/model/errors.ts";
import { openSecrets } from "../../src/core/secrets/secrets.ts";
import { createRedactor } from "../../src/core/text/redact.ts";
import type { Served } from "../support/worlds/symphony.ts";

// Writes of every kind to a running server, and what each of them must have left on the disk.

/** One value of a server that is written again and again, by one writer at a time. */
interface Cell {
  readonly name: string;
  /** The last value that was acknowledged; null: none. */
  confirmed: string | null;
  /** The value that was sent without an answer: it may be there. */
  possible: string | null;
  isBusy: boolean;
  /** The value to write after `confirmed`; `count` is never the same. */
  next(confirmed: string | null, count: number): string;
  send(served: Served, value: string): Promise<unknown>;
}

/** Cells of one kind, and how their values are read from a restarted server, by name. */
interface Kind {
  readonly cells: readonly Cell[];
  read(served: Served, dataDir: string): Promise<readonly (readonly [string, string])[]>;
}

/** A write that was chosen; `send` rejects when the server is gone before it has answered. */
export interface Write {
  send(served: Served): Promise<void>;
}

export interface Writes {
  /** The number of kinds. */
  readonly kinds: number;
  next(): Write;
  /**
   * Compares every value with what a restarted server has; the next writes start from there. Resolves
   * with one line for each that was acknowledged and is not there.
   */
  missing(served: Served, dataDir: string): Promise<readonly string[]>;
}

/** Issues that comments and statuses are written to; the caller makes them before the first write. */
export const baseIssues = 3;
const cellsOfKind = 3;

export function writesOf(random: () => number): Writes {
  const kinds = [issues(), comments(), statuses(), templates(), overlay(), secrets(), pause()];
  const cells = kinds.flatMap((kind) => kind.cells);
  let count = 0;
  return {
    kinds: kinds.length,
    next() {
      const free = cells.filter(({ isBusy }) => !isBusy);
      const cell = free[Math.floor(random() * free.length)];
      if (cell === undefined) throw new Error("there are more writers than values");
      cell.isBusy = true;
      const value = cell.next(cell.confirmed, ++count);
      return {
        async send(served) {
          try {
            cell.possible = value;
            await cell.send(served, value);
            cell.confirmed = value;
            cell.possible = null;
            cell.isBusy = false;
          } catch (error) {
            // In force, and saved as soon as there is room: it may be there after a kill, so it is written again only then.
            if (isSavedLater(error)) throw error;
            cell.isBusy = false;
            // A refusal changes nothing.
            if (isRefusal(error)) cell.possible = null;
            throw error;
          }
        },
      };
    },
    async missing(served, dataDir) {
      const read = await Promise.all(kinds.map((kind) => kind.read(served, dataDir)));
      const found = new Map(read.flat());
      return cells.flatMap((cell) => {
        const { name, confirmed, possible } = cell;
        const value = found.get(name) ?? null;
        cell.confirmed = value;
        cell.possible = null;
        cell.isBusy = false;
        const isRight = value === confirmed || (value !== null && value === possible);
        return isRight ? [] : [`${name}: ${confirmed} was acknowledged, and ${value} is there`];
      });
    },
  };
}

/** Whether the server has answered that it did not do it, such as a move before the first poll. */
export function isRefusal(error: unknown): boolean {
  return error instanceof SymphonyError && error.code !== "server_unreachable";
}

function isSavedLater(error: unknown): boolean {
  return error instanceof SymphonyError && error.details["saved_later"] === true;
}

type CellSetting = Pick<Cell, "send"> & Partial<Pick<Cell, "next" | "confirmed">>;

function cell(
  name: string,
  { send, confirmed = null, next = (_, count) => `v${count}` }: CellSetting,
): Cell {
  return { name, confirmed, possible: null, isBusy: false, next, send };
}

function cellsOf(
  kind: string,
  send: (served: Served, value: string, at: number) => Promise<unknown>,
) {
  return Array.from({ length: cellsOfKind }, (_, at) =>
    cell(`${kind} ${at}`, { send: (served, value) => send(served, value, at) }),
  );
}

const baseIssue = (at: number) => ({ id: `LOCAL-${at + 1}` });

/** Titles; the first write of each makes its issue, which a label identifies. */
function issues(): Kind {
  const made = new Map<number, string>();
  return {
    cells: cellsOf("title", async ({ client }, title, at) => {
      const id = made.get(at);
      if (id !== undefined) return client.issues.edit({ params: { id }, body: { title } });
      const issue = await client.issues.create({ body: { title, labels: [`cell-${at}`] } });
      return made.set(at, issue.identifier);
    }),
    async read({ client }) {
      const { issues: all } = await client.issues.list({ query: { limit: 100 } });
      return all.flatMap(({ title, identifier, labels }) => {
        const label = labels.find((one) => one.startsWith("cell-"));
        if (label === undefined) return [];
        made.set(Number(label.slice(5)), identifier);
        return [[`title ${label.slice(5)}`, title] as const];
      });
    },
  };
}

function comments(): Kind {
  return {
    cells: cellsOf("comment", ({ client }, body, at) =>
      client.issues.comment({ params: baseIssue(at), body: { body } }),
    ),
    read: ({ client }) =>
      readAll(async (at) => {
        const { comments: all } = await client.issues.comments({ params: baseIssue(at) });
        const last = all.findLast(({ body }) => /^v\d+$/.test(body));
        return last === undefined ? [] : [`comment ${at}`, last.body];
      }),
  };
}

function statuses(): Kind {
  return {
    cells: Array.from({ length: baseIssues }, (_, at) =>
      cell(`status ${at}`, {
        confirmed: "queued",
        next: (confirmed) => (confirmed === "held" ? "queued" : "held"),
        send: ({ client }, to) => client.issues.transition({ params: baseIssue(at), body: { to } }),
      }),
    ),
    read: ({ client }) =>
      readAll(async (at) => {
        const { status } = await client.issues.detail({ params: baseIssue(at), query: {} });
        return [`status ${at}`, status === "held" ? "held" : "queued"];
      }),
  };
}

function templates(): Kind {
  const made = new Map<string, string>();
  return {
    cells: cellsOf("template", async ({ client }, body, at) => {
      const name = `cell-${at}`;
      const id = made.get(name);
      if (id !== undefined) return client.templates.edit({ params: { id }, body: { body } });
      const template = await client.templates.create({ body: { name, body } });
      return made.set(name, template.id);
    }),
    async read({ client }) {
      const { templates: all } = await client.templates.list({ query: { limit: 100 } });
      return all.flatMap(({ name, id, body }) => {
        if (!name.startsWith("cell-")) return [];
        made.set(name, id);
        return [[`template ${name.slice(5)}`, body] as const];
      });
    },
  };
}

function overlay(): Kind {
  return {
    cells: [
      cell("overlay", {
        next: (_, count) => String(1_000 + count),
        send: ({ client }, value) =>
          client.config.replaceOverlay({ body: { polling: { interval_ms: Number(value) } } }),
      }),
    ],
    async read({ client }) {
      const written = await client.config.overlay({});
      const value = /"interval_ms":(\d+)/.exec(JSON.stringify(written))?.[1];
      return value === undefined ? [] : [["overlay", value]];
    },
  };
}

/** Compared by value, as the next attempt would use it: no route returns one. */
function secrets(): Kind {
  return {
    cells: cellsOf("secret", ({ client }, value, at) =>
      client.secrets.put({ params: { key: `CELL_${at}` }, body: { value } }),
    ),
    async read(_, dataDir) {
      const redactor = createRedactor();
      const stored = await openSecrets({ dir: dataDir, env: {}, clock: systemClock, redactor });
      return stored.names().flatMap((name) => {
        const value = stored.lookup(name);
        return value === undefined ? [] : [[`secret ${name.slice(5)}`, value] as const];
      });
    },
  };
}

function pause(): Kind {
  return {
    cells: [
      cell("dispatch", {
        confirmed: "open",
        next: (confirmed) => (confirmed === "paused" ? "open" : "paused"),
        send: ({ client }, to) =>
          to === "paused" ? client.system.pause({ body: {} }) : client.system.resume({ body: {} }),
      }),
    ],
    async read({ client }) {
      const { paused } = await client.system.state({ query: {} });
      const isPaused = paused.some(({ gate }) => gate === "paused");
      return [["dispatch", isPaused ? "paused" : "open"]];
    },
  };
}

async function readAll(
  read: (at: number) => Promise<readonly [string, string] | readonly []>,
): Promise<readonly (readonly [string, string])[]> {
  const all = await Promise.all(Array.from({ length: baseIssues }, (_, at) => read(at)));
  return all.flatMap((one) => (one.length === 0 ? [] : [one]));
}
