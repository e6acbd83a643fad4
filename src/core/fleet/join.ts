import { randomUUID } from "node:crypto";
import { mkdir, readFile, rm } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { pause, systemClock } from "../clock.ts";
import { SymphonyError, systemCodeOf } from "../model/errors.ts";
import { storageUnavailable, writeDurably } from "../store/durable.ts";
import { parseJson } from "../text/text.ts";
import type { Engine } from "./engine.ts";
import { keyFor, newSecret, readToken, seal, unseal } from "./sealing.ts";

// How a machine becomes a worker: once, with a token that the orchestrator wrote.

/** A worker as it knows itself. */
export interface Identity {
  readonly fleet: string;
  readonly id: string;
  readonly name: string;
  /** Known to this worker and the orchestrator alone. */
  readonly secret: Buffer;
}

const Stored = z.object({
  fleet: z.string(),
  id: z.string(),
  name: z.string(),
  secret: z.string(),
});

/** What a machine asks with. */
export const Request = z.object({
  id: z.string().regex(/^[0-9a-f-]{36}$/),
  name: z.string().regex(/^[\w.-]{1,63}$/),
  secret: z.string().regex(/^[\w-]{43}$/),
  host: z.string(),
});

export const Reply = z.union([
  z.object({ ok: z.literal(true) }),
  z.object({ ok: z.literal(false), reason: z.string() }),
]);

const fileName = "worker.json";
/** What was asked with, until it is answered: asking again with the same token is the same request. */
const askedName = "joining.json";
const Asked = Stored.extend({ invitation: z.string() });
const replyLimitMs = 30_000;
const askMs = 250;

/** null: this directory has not joined a fleet. */
export async function storedIdentity(dir: string): Promise<Identity | null> {
  const file = join(dir, fileName);
  const text = await readFile(file, "utf8").catch((error: unknown) => {
    if (systemCodeOf(error) === "ENOENT") return null;
    throw storageUnavailable(file, error);
  });
  if (text === null) return null;
  const stored = Stored.safeParse(parseJson(text)).data;
  if (!stored) {
    throw new SymphonyError("storage_corrupt", `${file} cannot be read`, {
      hint: "symphony workers invite, on the server, then join again with another --dir",
    });
  }
  return { ...stored, secret: Buffer.from(stored.secret, "base64url") };
}

/** The fleet of a join token. Throws `usage`. */
export function fleetOf(token: string): string {
  return readToken(token).fleet;
}

/** Joins the fleet of the token as `name`; the identity is on disk when it resolves. Rejects with `worker_refused` and why. */
export async function joinFleet(
  engine: Engine,
  { token, name, dir, signal }: { token: string; name: string; dir: string; signal: AbortSignal },
): Promise<Identity> {
  const { fleet, invitation, secret } = readToken(token);
  const key = keyFor(secret, "join");
  // Before the orchestrator knows it: afterwards the invitation is used up.
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const stored = await identityFor(dir, { fleet, name, invitation });
  const identity = { ...stored, secret: Buffer.from(stored.secret, "base64url") };
  const own = { id: stored.id, name, secret: stored.secret, host: hostname() };
  const sealed = seal(key, `join|${invitation}`, Buffer.from(JSON.stringify(own)));
  const id = await engine.ask(invitation, sealed);
  await using _ = {
    // Nothing is admitted after it was given up.
    async [Symbol.asyncDispose]() {
      await engine.deleteRequest(id).catch(() => {});
    },
  };
  for (const end = performance.now() + replyLimitMs; performance.now() < end; ) {
    const [answer] = await engine.notes("joined", [identity.id]);
    if (answer) {
      const plain = unseal(key, `joined|${identity.id}`, answer);
      const reply = Reply.safeParse(parseJson(plain?.toString() ?? "")).data;
      if (!reply) throw refused("its answer cannot be read");
      if (!reply.ok) throw refused(reply.reason);
      await writeDurably(join(dir, fileName), `${JSON.stringify(stored)}\n`);
      await rm(join(dir, askedName), { force: true });
      return identity;
    }
    await pause(systemClock, askMs, signal);
  }
  throw new SymphonyError("worker_refused", "no orchestrator of this fleet answered within 30 s", {
    hint: "symphony serve, with the same engine in fleet.url, has to run; then join again with the same token",
  });
}

async function identityFor(
  dir: string,
  { fleet, name, invitation }: { fleet: string; name: string; invitation: string },
): Promise<z.output<typeof Stored>> {
  const file = join(dir, askedName);
  const text = await readFile(file, "utf8").catch(() => "");
  const { data: asked } = Asked.safeParse(parseJson(text));
  const isSame = asked?.fleet === fleet && asked.name === name && asked.invitation === invitation;
  const { id, secret } = isSame
    ? asked
    : { id: randomUUID(), secret: newSecret().toString("base64url") };
  const stored = { fleet, id, name, secret };
  await writeDurably(file, `${JSON.stringify({ ...stored, invitation })}\n`);
  return stored;
}

function refused(why: string): SymphonyError {
  return new SymphonyError("worker_refused", `the orchestrator refuses this worker: ${why}`, {
    hint: "symphony workers invite, on the server, writes a new token",
  });
}
