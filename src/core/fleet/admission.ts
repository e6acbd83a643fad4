import { type Clock, pause } from "../clock.ts";
import { parseJson } from "../text/text.ts";
import type { Engine } from "./engine.ts";
import { Request } from "./join.ts";
import type { Members } from "./members.ts";
import { keyFor, seal, unseal } from "./sealing.ts";

interface AdmissionDeps {
  readonly engine: Engine;
  readonly members: Members;
  readonly clock: Clock;
  readonly log: {
    info(message: string, fields?: Readonly<Record<string, unknown>>): void;
    warn(message: string, fields?: Readonly<Record<string, unknown>>): void;
  };
  /** Only the server that leads answers. */
  leads(): boolean;
  readonly signal: AbortSignal;
}

const lookMs = 500;
const answerKeptMs = 60_000;

/** Answers machines that ask to join, until `signal` aborts. Never rejects. */
export async function admitWorkers(deps: AdmissionDeps): Promise<void> {
  const { clock, signal } = deps;
  while (!signal.aborted) {
    if (deps.leads()) await admitAll(deps).catch(() => {});
    await pause(clock, lookMs, signal).catch(() => {});
  }
}

async function admitAll(deps: AdmissionDeps): Promise<void> {
  for (const { id, invitation, sealed } of await deps.engine.requests()) {
    await answer(invitation, sealed, deps);
    await deps.engine.deleteRequest(id);
  }
}

async function answer(
  invitation: string,
  sealed: Buffer,
  { engine, members, clock, log }: AdmissionDeps,
): Promise<void> {
  const open = members.invitation(invitation);
  // Without its secret nothing can be answered, and nothing is learned.
  if (open === null) return;
  const key = keyFor(open.secret, "join");
  const plain = unseal(key, `join|${invitation}`, sealed);
  const asked = Request.safeParse(parseJson(plain?.toString() ?? "")).data;
  if (!asked) return;
  const reason = await members.admit(invitation, asked, clock.wall());
  const reply = reason === null ? { ok: true } : { ok: false, reason };
  const letter = seal(key, `joined|${asked.id}`, Buffer.from(JSON.stringify(reply)));
  await engine.note("joined", asked.id, letter, answerKeptMs);
  const { name: worker, host } = asked;
  if (reason === null) log.info("a worker has joined", { worker, host });
  else log.warn("a worker was refused", { worker, host, reason });
}
